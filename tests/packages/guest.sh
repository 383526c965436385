#!/bin/sh
# The life of the packages in a whole Debian with systemd: installed by apt from a signed repository, enrolled, upgraded, downgraded,
# removed, purged. Runs in the guest, as the service `picket-vm`, and says the verdict on the console.
#
# /vm/repository is what packaging/repository.sh made, with two releases of one version. /vm/releases says which they are (old, new) and
# where this runs (place): `kernel`, a kernel of its own with BPF LSM, emulated and without a disk; or `container`, on the kernel of the
# build machine, which lends no kernel programs, but as fast as it is and with a disk, so that it can be started anew. Its console is the
# file /vm/console.
PATH=/usr/sbin:/usr/bin
export PATH HOME=/root LC_ALL=C DEBIAN_FRONTEND=noninteractive
. /vm/verdict.sh
. /vm/releases
if [ "$place" = container ]; then
    exec >>/vm/console 2>&1
else
    exec >/dev/console 2>&1
fi
exec 3>&1

repository=/vm/repository
unit=picket-agent.service
operator=/root/.picket

# check NAME COMMAND...: passes if it succeeds
check() {
    title="packages $1"
    shift
    begun=$(now)
    if "$@" >/tmp/said 2>&1; then
        told passed "$title" "$(($(now) - begun)) ms"
    else
        sed 's/^/    /' /tmp/said | tail -n 40
        told failed "$title"
    fi
}

# What is worth knowing beside passed and failed, also from inside a check.
note() {
    say "note $*" >&3
}

now() {
    echo $(($(date +%s%N) / 1000000))
}

within() {
    limit=$1
    shift
    while ! "$@" >/dev/null 2>&1; do
        [ "$limit" != 0 ] || return 1
        limit=$((limit - 1))
        sleep 1
    done
}

property() {
    systemctl show --property "$2" --value "$1"
}

ctl() {
    picketctl --operator $operator "$@"
}

apt() {
    apt-get --quiet --yes -o Dpkg::Use-Pty=0 "$@"
}

# names: everything there is, but for what packages always leave: their logs and what the package manager itself keeps
names() {
    find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /tmp -o -path /vm -o -path /root -o -path /var/log -o -path /var/cache \
        -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/lib/systemd -o -path /var/tmp \) -prune -o -print | sort
    find /run -xdev -path '*picket*' | sort
}

use_repository() {
    echo "deb [signed-by=$1/picket-archive-keyring.gpg] file:$1/apt stable main" >/etc/apt/sources.list
    rm -rf /var/lib/apt/lists
    apt update
}

# A repository of which somebody changed one thing.
a_changed_index_is_refused() {
    rm -rf /tmp/changed && cp -R $repository /tmp/changed
    index=/tmp/changed/apt/dists/stable/main/binary-amd64
    sed -i 's/^Version: 0/Version: 9/' $index/Packages
    gzip -9 -n -k -f $index/Packages && xz -k -f $index/Packages
    use_repository /tmp/changed && return 1
    ! apt install picket-agent && [ ! -e /usr/bin/picket-agent ]
}

a_changed_signature_is_refused() {
    rm -rf /tmp/changed && cp -R $repository /tmp/changed
    sed -i 's/^Suite: stable/Suite: stabil/' /tmp/changed/apt/dists/stable/InRelease
    rm /tmp/changed/apt/dists/stable/Release.gpg
    use_repository /tmp/changed && return 1
    ! apt install picket-agent && [ ! -e /usr/bin/picket-agent ]
}

a_changed_package_is_refused() {
    rm -rf /tmp/changed && cp -R $repository /tmp/changed
    for deb in /tmp/changed/apt/pool/picket-agent_*.deb; do
        printf x >>"$deb"
    done
    use_repository /tmp/changed && ! apt install picket-agent && [ ! -e /usr/bin/picket-agent ]
}

nothing_runs_and_nothing_failed() {
    for name; do
        [ "$(property "$name" ActiveState)" = inactive ] || return 1
    done
    systemctl --failed --no-legend 'picket*'
    [ -z "$(systemctl --failed --no-legend 'picket*')" ]
}

# The collector as its page says: the directory is its own user's.
make_collector() {
    requests=/var/lib/picket-collector/operators/alice
    as="setpriv --reuid picket-collector --regid picket-collector --clear-groups"
    picketctl operator init --name alice --out $operator &&
        $as mkdir -p $requests && cp $operator/request.pem $requests && chown picket-collector $requests/request.pem &&
        $as picket-collector init --data /var/lib/picket-collector --name localhost,127.0.0.1 --operator $requests/request.pem >/tmp/init &&
        cp $requests/certificate.pem $operator &&
        systemctl start picket-collector.service &&
        ctl operator finish $operator --collector 127.0.0.1:7444 --fingerprint "$(grep -o 'sha256:[0-9a-f]*' /tmp/init | head -n 1)"
}

seed() {
    mkdir -p /etc/picket
    (umask 077 && printf 'collector = "127.0.0.1:7443"\ntoken = "%s"\n' "$(ctl token create)" >/etc/picket/enroll.toml)
}

has_event() {
    ctl events --json --limit 1 --where "${1:-kind = 'exec'}" | grep -q .
}

an_exec_is_found_later() {
    mark=/tmp/mark-$(now)
    cp /usr/bin/sleep "$mark"
    "$mark" 3 # long enough for a sensor that looks from time to time
    within 60 has_event "process.exe = '$mark'"
}

# The time that the issue asks for: one command, to the first event that the collector has verified and stored.
from_package_to_event() {
    seed || return 1
    begun=$(now)
    apt install "picket-agent=$old" || return 1
    until has_event; do
        [ $(($(now) - begun)) -lt 300000 ] || return 1
        sleep 0.1
    done
    note "from apt-get install to the first signed event at the collector: $(($(now) - begun)) ms ($place)"
}

is_enrolled_once() {
    [ -e /var/lib/picket/host.json ] && [ ! -e /etc/picket/enroll.toml ] && [ ! -e /etc/picket/enroll.toml.refused ]
}

# proved FILE: what `doctor --json` found proved
proved() {
    sed -n 's/.*"name":"\([^"]*\)","state":"proved".*"backend":"\([^"]*\)".*/\2 \1/p' "$1" | sort -u
}

# `doctor` behind the fences of the agent's unit proves what it proves without them, of every source.
fences_cost_no_hook() {
    systemctl stop $unit
    sed -e '/^\(Restart\|Watchdog\|ExecReload\|Condition\)/d' -e 's/^Type=.*/Type=oneshot/' -e '/^\[Install\]/,$d' \
        -e 's|^ExecStart=.*|ExecStart=/usr/bin/picket-agent doctor --json\nStandardOutput=file:/tmp/inside|' \
        /usr/lib/systemd/system/$unit >/run/systemd/system/doctor.service
    systemctl daemon-reload
    systemctl start doctor.service || return 1
    rm /run/systemd/system/doctor.service
    picket-agent doctor --json >/tmp/outside
    systemctl start $unit
    proved /tmp/inside >/tmp/inside.proved
    proved /tmp/outside >/tmp/outside.proved
    note "hooks proved: $(grep -c . /tmp/outside.proved) without fences, $(grep -c . /tmp/inside.proved) behind them"
    echo "not proved behind the fences:"
    comm -13 /tmp/inside.proved /tmp/outside.proved
    grep -q '^ebpf exec$' /tmp/inside.proved && [ -z "$(comm -13 /tmp/inside.proved /tmp/outside.proved)" ] &&
        within 120 sh -c 'picket-agent status --json | grep -q connected'
}

only_the_group_may_ask() {
    setpriv --reuid nobody --regid picket --clear-groups picket-agent status --json | grep -q '"version"' &&
        ! setpriv --reuid nobody --regid nogroup --clear-groups picket-agent status --json
}

# hangs UNIT: a service that stands still is started anew
a_hanging_service_is_started_anew() {
    mkdir -p "/run/systemd/system/$1.d"
    printf '[Service]\nWatchdogSec=20\n' >"/run/systemd/system/$1.d/watchdog.conf"
    systemctl daemon-reload
    systemctl restart "$1"
    first=$(property "$1" MainPID)
    kill -STOP "$first"
    within 120 sh -c "[ \"\$(systemctl show --property MainPID --value $1)\" != $first ] && systemctl is-active --quiet $1"
    result=$?
    rm -r "/run/systemd/system/$1.d"
    systemctl daemon-reload
    systemctl restart "$1"
    return $result
}

stopped_stays_stopped() {
    systemctl stop $unit
    sleep 5
    [ "$(property $unit ActiveState)" = inactive ] && systemctl start $unit && systemctl is-active --quiet $unit
}

# As docs/operating.md says: stopped, copied, started; and back. Nothing came in between.
a_backup_is_restored() {
    data=/var/lib/picket-collector
    systemctl stop $unit picket-collector.service &&
        tar -C /var/lib -cf /vm/backup.tar picket-collector && rm -rf $data && systemctl start picket-collector.service
    [ "$(property picket-collector.service ActiveState)" = inactive ] || return 1
    tar -C /var/lib -xf /vm/backup.tar && systemctl start picket-collector.service $unit && systemctl is-active --quiet picket-collector.service &&
        an_exec_is_found_later && ctl verify
}

host_id() {
    sed -n 's/.*"host_id": *"\([0-9a-f]*\)".*/\1/p' /var/lib/picket/host.json
}

# to VERSION: installs it; the host stays who it is, runs, keeps its settings
change_to() {
    before=$(host_id)
    apt install --allow-downgrades "picket-agent=$1" "picket-collector=$1" "picketctl=$1" &&
        [ "$(dpkg-query --show --showformat '${Version}' picket-agent)" = "$1" ] &&
        systemctl is-active --quiet $unit && systemctl is-active --quiet picket-collector.service &&
        [ "$(host_id)" = "$before" ] && grep -qx 'cpu_percent = 90' /etc/picket/agent.toml
}

books_balance() {
    ctl verify && ctl host show "$(host_id)" >/tmp/host && cat /tmp/host && ! grep -q DIFFERENCE /tmp/host && grep -q BALANCED /tmp/host
}

is_protected() {
    picket-agent status --json | grep -q '"name":"protect","state":"\(attached\|proved\)"'
}

# A program that may not be replaced while it runs is replaced by the package manager all the same.
a_protected_agent_is_upgraded() {
    printf 'protect = true\ncpu_percent = 90\n' >>/etc/picket/agent.toml
    systemctl restart $unit
    within 120 is_protected && ! sh -c 'echo x >>/usr/bin/picket-agent' && change_to "$new" && within 120 is_protected
}

nothing_is_mounted_over_what_is_guarded() {
    mkdir -p /tmp/over
    ! mount --bind /tmp/over /var/lib/picket || { umount /var/lib/picket; return 1; }
}

disabled_stays_disabled() {
    systemctl disable --now $unit
    apt install --reinstall "picket-agent=$new"
    ! systemctl is-enabled --quiet $unit && ! systemctl is-active --quiet $unit && systemctl enable --now $unit
}

removed_keeps_who_it_is() {
    before=$(host_id)
    apt remove picket-agent && [ ! -e /usr/bin/picket-agent ] && [ "$(host_id)" = "$before" ] && [ -e /etc/picket/agent.toml ] &&
        [ "$(property $unit ActiveState)" = inactive ] && apt install picket-agent &&
        within 60 systemctl is-active --quiet $unit && [ "$(host_id)" = "$before" ]
}

set_protect_removal() {
    sed -i '/^protect_removal/d' /etc/picket/agent.toml
    echo "protect_removal = $1" >>/etc/picket/agent.toml
    systemctl restart $unit && within 120 sh -c 'picket-agent status --json | grep -q connected'
}

# The package manager's script asks the agent; what replaces the package is not asked about.
removal_needs_an_operators_word() {
    set_protect_removal true || return 1
    if apt remove picket-agent; then
        return 1
    fi
    [ -x /usr/bin/picket-agent ] && systemctl is-active --quiet $unit && within 60 has_event "containment.action = 'removal' and containment.state = 'refused'" || return 1
    apt install --reinstall "picket-agent=$new" && within 120 sh -c 'picket-agent status --json | grep -q connected' || return 1
    ctl contain allow-removal "$(host_id)" --for 30m --reason 'test of the package' --wait && apt remove picket-agent && [ ! -e /usr/bin/picket-agent ] &&
        within 60 has_event "containment.action = 'allow-removal' and containment.reason = 'removing'" || return 1
    apt install picket-agent && within 60 systemctl is-active --quiet $unit && set_protect_removal false
}

purged_leaves_nothing() {
    apt purge picket-agent picket-collector picketctl || return 1
    names >/tmp/after
    left=$(comm -13 /vm/before /tmp/after)
    echo "left: $left"
    note "files left by purge: $(echo "$left" | grep -c .)"
    [ -z "$left" ]
}

a_refused_file_is_set_aside() {
    apt install "picket-agent=$old" || return 1
    (umask 077 && printf 'collector = "127.0.0.1:7443"\ntoken = "pt1-wrong"\n' >/etc/picket/enroll.toml)
    within 30 test -e /etc/picket/enroll.toml.refused && [ ! -e /etc/picket/enroll.toml ] && [ ! -e /var/lib/picket/host.json ] &&
        rm /etc/picket/enroll.toml.refused && systemctl reset-failed picket-enroll.service && nothing_runs_and_nothing_failed $unit
}

resident() {
    pid=$(property $unit MainPID)
    note "agent resident: $(sed -n 's/^VmRSS:[[:space:]]*//p' /proc/"$pid"/status), $(picket-agent status --json | grep -o '"backend":"[a-z]*"' | head -n 1)"
}

# What only a repository as it was signed can bring in.
signed_or_nothing() {
    check a_changed_index_is_refused a_changed_index_is_refused
    check a_changed_signature_is_refused a_changed_signature_is_refused
    check a_changed_package_is_refused a_changed_package_is_refused
    check the_signed_repository_is_taken use_repository $repository
}

arrive() {
    check collector_and_ctl_are_installed apt install "picket-collector=$old" "picketctl=$old"
    check a_collector_without_data_is_quiet nothing_runs_and_nothing_failed picket-collector.service
    check a_collector_is_made_and_runs make_collector
    check an_unenrolled_agent_is_installed apt install "picket-agent=$old"
    check nothing_runs_before_enrolment nothing_runs_and_nothing_failed $unit picket-enroll.service
    check it_is_purged_again apt purge picket-agent
    check a_wrong_file_is_set_aside a_refused_file_is_set_aside
    check and_purged_again apt purge picket-agent
    check a_host_enrols_by_the_file_it_was_given from_package_to_event
    check the_file_is_gone is_enrolled_once
    resident
}

serve() {
    check only_the_group_may_ask only_the_group_may_ask
    check an_exec_is_found an_exec_is_found_later
    check a_hanging_agent_is_started_anew a_hanging_service_is_started_anew $unit
    check a_hanging_collector_is_started_anew a_hanging_service_is_started_anew picket-collector.service
    check what_is_stopped_stays_stopped stopped_stays_stopped
    check a_backup_is_restored a_backup_is_restored
}

change() {
    echo 'cpu_percent = 90' >>/etc/picket/agent.toml
    systemctl restart $unit
    check an_upgrade_keeps_host_and_settings change_to "$new"
    check an_exec_is_found_after_the_upgrade an_exec_is_found_later
    check a_downgrade_works change_to "$old"
    check an_exec_is_found_after_the_downgrade an_exec_is_found_later
}

# What only a kernel with BPF LSM shows.
guard() {
    check the_fences_cost_no_hook fences_cost_no_hook
    check a_protected_agent_is_upgraded a_protected_agent_is_upgraded
    check nothing_is_mounted_over_what_is_guarded nothing_is_mounted_over_what_is_guarded
}

# The machine goes down and comes back; this script with it.
start_anew() {
    host_id >/vm/host
    echo "passed=$passed failed=$failed" >/vm/phase
    systemctl reboot
    exit 0
}

is_back() {
    within 60 systemctl is-active --quiet $unit && systemctl is-active --quiet picket-collector.service && [ "$(host_id)" = "$(cat /vm/host)" ]
}

leave() {
    check the_books_balance books_balance
    check disabled_stays_disabled disabled_stays_disabled
    check removed_keeps_who_it_is removed_keeps_who_it_is
    check removal_needs_an_operators_word removal_needs_an_operators_word
    check an_exec_is_found_when_it_is_back an_exec_is_found_later
    check purge_leaves_nothing purged_leaves_nothing
}

if [ -e /vm/phase ]; then
    . /vm/phase
    check both_are_back_after_a_reboot is_back
    check an_exec_is_found_after_the_reboot an_exec_is_found_later
    leave
    verdict
fi
say "place=$place kernel $(uname -r) $(systemctl --version | head -n 1)"
systemctl is-system-running --wait >/dev/null 2>&1
rm -f /etc/apt/sources.list.d/*
names >/vm/before
if [ "$place" = container ]; then
    signed_or_nothing
    arrive
    serve
    change
    start_anew
fi
check the_signed_repository_is_taken use_repository $repository
check collector_and_ctl_are_installed apt install "picket-collector=$old" "picketctl=$old"
check a_collector_is_made_and_runs make_collector
check a_host_enrols_by_the_file_it_was_given from_package_to_event
check the_file_is_gone is_enrolled_once
resident
check an_exec_is_found an_exec_is_found_later
guard
check an_exec_is_found_after_the_upgrade an_exec_is_found_later
check the_books_balance books_balance
check purge_leaves_nothing purged_leaves_nothing
verdict
