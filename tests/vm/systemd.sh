#!/bin/sh
# What a whole Debian with systemd shows: the agent as a service that protects itself, which only the service manager can stop, and
# programs of a blocked content that do not start while it runs.
# Runs in the guest, as the service `picket-vm`, and says the verdict on the console.
PATH=/usr/sbin:/usr/bin
export PATH HOME=/root
exec >/dev/console 2>&1
. /vm/verdict.sh

settings=/etc/picket/agent.toml
state=/var/lib/picket
unit=picket-agent.service

# check NAME COMMAND...: passes if it succeeds
check() {
    name="systemd $1"
    shift
    if "$@" >/tmp/said 2>&1; then
        told passed "$name"
    else
        sed 's/^/    /' /tmp/said | tail -n 30
        told failed "$name"
    fi
}

# refused COMMAND...: succeeds if the command fails and the agent is the one that it was
refused() {
    if "$@"; then
        echo "done, and should have been refused: $*"
        return 1
    fi
    [ "$(main_pid)" = "$agent" ] && kill -0 "$agent"
}

main_pid() {
    systemctl show --property MainPID --value $unit
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

# An operator, a collector and an enrolled host, as the README says.
install_all() {
    picketctl operator init --name alice --out /root/.picket &&
        picket-collector init --data /var/lib/picket-collector --name localhost,127.0.0.1 --operator /root/.picket/request.pem >/tmp/init &&
        fingerprint=$(grep -o 'sha256:[0-9a-f]*' /tmp/init | head -n 1) &&
        systemctl start picket-collector.service &&
        within 60 picketctl operator finish /root/.picket --collector 127.0.0.1:7444 --fingerprint "$fingerprint" &&
        token=$(picketctl --operator /root/.picket token create) &&
        picket-agent enroll --collector 127.0.0.1:7443 --token "$token" --fingerprint "$fingerprint" --state $state
}

write_files() {
    mkdir -p /etc/picket/rules.d
    echo 'protect = true' >$settings
    cat >/etc/systemd/system/picket-collector.service <<UNIT
[Service]
ExecStart=/usr/bin/picket-collector serve --data /var/lib/picket-collector
UNIT
    cat >/etc/systemd/system/$unit <<UNIT
[Service]
Type=notify
ExecStart=/usr/bin/picket-agent run --state $state --config $settings
Restart=on-failure
TimeoutStartSec=300
[Install]
WantedBy=multi-user.target
UNIT
    systemctl daemon-reload
}

is_protected() {
    picket-agent status --json --state $state | grep -q '"name":"protect","state":"\(attached\|proved\)"'
}

# events WHERE: how many events the collector has
events() {
    picketctl --operator /root/.picket events --json --limit 10000 --where "$1" | wc -l
}

has_event() {
    within 60 sh -c "picketctl --operator /root/.picket events --json --where \"$1\" | grep -q ."
}

replace_program() {
    cp /usr/bin/picket-agent /usr/bin/picket-agent.new && mv -f /usr/bin/picket-agent.new /usr/bin/picket-agent
}

# A program with a content of its own, which has run once.
make_program() {
    cp /usr/bin/true /root/blocked && echo 'of the test' >>/root/blocked && /root/blocked
}

# contain FILE ACTION: what the host answers about the content of this file
contain() {
    host=$(picketctl --operator /root/.picket hosts --json | grep -o '"host":"[0-9a-f]*"' | head -n 1 | cut -d '"' -f 4)
    hash=$(sha256sum "$1" | cut -d ' ' -f 1)
    picketctl --operator /root/.picket contain "$2" "$hash" --host "$host" --reason test --ttl 10m --wait --json | tee /dev/stderr
}

is_blocked() {
    contain /root/blocked block-hash | grep -q '"reason":"prevented_where_known"'
}

is_unblocked() {
    contain /root/copy unblock-hash | grep -q '"state":"executed"'
}

is_told_as() {
    picketctl --operator /root/.picket events --json --kind containment --limit 100 | grep "\"reason\":\"$1\""
}

does_not_start() {
    "$1" 2>&1 | grep 'Operation not permitted'
}

is_written_and_does_not_start() {
    cp /root/renamed /root/copy && sleep 20 && does_not_start /root/copy
}

runs() {
    systemctl is-active --quiet $unit
}

ended_well() {
    [ "$(systemctl show --property Result --value $unit)" = success ] && ! runs
}

say "kernel $(uname -r) case=systemd lsm=$(cat /sys/kernel/security/lsm)"
ip link set lo up
write_files
check a_host_is_enrolled install_all
check the_service_is_ready systemctl start $unit
agent=$(main_pid)
check the_agent_is_protected is_protected
for signal in TERM KILL STOP; do
    check "a_signal_is_refused_$signal" refused kill -$signal "$agent"
done
check a_change_of_the_settings_is_refused refused sh -c "echo >>$settings"
check a_removal_of_the_state_is_refused refused rm -rf $state
check a_replacement_while_it_runs_is_refused refused replace_program
check what_was_refused_is_told has_event "kind = 'signal' and signal.target_pid = $agent and signal.result = -1"
check a_service_is_named_by_its_control_group has_event "process.cgroup ~ 'picket-collector.service'"
printf '[Timer]\nOnCalendar=daily\n' >/etc/systemd/system/vm-test.timer
check a_new_timer_is_a_scheduled_job has_event "kind = 'scheduled_job' and scheduled_job.path ~ 'vm-test.timer'"
check a_program_runs make_program
check its_content_is_blocked is_blocked
check it_is_known_and_does_not_start within 60 does_not_start /root/blocked
check it_has_another_name mv /root/blocked /root/renamed
check it_does_not_start_under_another_name does_not_start /root/renamed
check a_copy_is_known_before_it_starts is_written_and_does_not_start
check a_refused_start_is_told within 60 is_told_as prevented
check the_service_manager_stops_it systemctl stop $unit
check what_was_blocked_starts_without_the_agent /root/renamed
check it_ended_well ended_well
check the_program_is_replaced_when_it_is_stopped replace_program
check it_starts_again systemctl start $unit
check it_is_protected_again is_protected
check what_was_known_does_not_start_again does_not_start /root/copy
check it_is_unblocked is_unblocked
check what_is_unblocked_starts within 10 /root/copy
check the_service_manager_restarts_it systemctl restart $unit
check the_service_manager_kills_it systemctl kill --signal KILL $unit
check it_is_back within 60 is_protected
verdict
