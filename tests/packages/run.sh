#!/bin/sh
# Tries the packages. Usage: run.sh PACKAGES OLD NEW
#
# PACKAGES has the deb and rpm files of two releases of one version, OLD and NEW (as `0.1.0-1`). A repository is made of them, signed
# with a key that is made for it and thrown away.
#
#   root       rpm in an unpacked Debian (chroot): signature, installed, upgraded, erased
#   container  deb in a whole Debian with systemd, in systemd-nspawn on this kernel, restarted once (tests/packages/guest.sh)
#   kernel     the same in QEMU, on a kernel of its own, with BPF LSM
#
# PICKET_PLACES names some of these.
#
# - What cannot be had (QEMU, root, a kernel) is skipped by name with the reason. Nothing of this machine is changed.
# - Exit code 1 when anything failed. The guest's console is kept in PICKET_CACHE/vm/packages.log.
set -eu

packages=$(cd "${1:?a folder of packages}" && pwd)
old=${2:?the older release}
new=${3:?the newer release}
here=$(cd "$(dirname "$0")" && pwd)
cache=${PICKET_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/picket}
vm=$here/../vm
passed=0 failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

skip() {
    echo "SKIPPED: the packages in $1: $2"
}

# check NAME COMMAND: whatever fails in COMMAND ends it. (In a condition `set -e` would count for nothing.)
check() {
    set +e
    (
        set -e
        "$2"
    ) >"$work/said" 2>&1
    result=$?
    set -e
    if [ $result = 0 ]; then
        passed=$((passed + 1))
        echo "passed $1"
    else
        failed=$((failed + 1))
        sed 's/^/    /' "$work/said" | tail -n 30
        echo "failed $1"
    fi
}

# A key for this run, and the repository signed with it.
make_repository() {
    mkdir -m 700 "$work/gnupg"
    export GNUPGHOME="$work/gnupg"
    gpg --batch --quiet --passphrase '' --quick-generate-key 'Picket test repository' ed25519 sign 1d >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
    PICKET_SIGNING_KEY=$(gpg --batch --quiet --list-keys --with-colons 2>/dev/null | awk -F: '$1 == "fpr" { print $10; exit }')
    export PICKET_SIGNING_KEY
    "$here/../../packaging/repository.sh" "$work/repository" "$packages"
    gpgconf --kill gpg-agent
}

signatures_of_the_lists_fit() {
    cd "$work/repository"
    gpgv --keyring "$PWD/picket-archive-keyring.gpg" SHA256SUMS.asc SHA256SUMS
    gpgv --keyring "$PWD/picket-archive-keyring.gpg" rpm/repodata/repomd.xml.asc rpm/repodata/repomd.xml
    sha256sum --check --quiet SHA256SUMS
    [ "$(grep -c '<package ' rpm/repodata/*primary.xml 2>/dev/null || zcat rpm/repodata/*primary.xml.gz | grep -c '<package ')" = "$(ls rpm/*.rpm | wc -l)" ]
}

in_root() {
    rpm --root "$root" --define '_dbpath /var/lib/rpm' "$@"
}

# What the root has is Debian's, which its rpm database does not know: so dependencies are not asked for. A script that fails
# fails rpm's work only in words.
in_words() {
    in_root "$@" 2>&1 | tee "$work/words"
    if grep -q 'scriptlet failed' "$work/words"; then
        return 1
    fi
}

# packages RELEASE
rpms() {
    echo "$work"/repository/rpm/*"-$1".*.rpm
}

is_enabled() {
    [ -L "$root/etc/systemd/system/multi-user.target.wants/picket-agent.service" ] && [ -L "$root/etc/systemd/system/paths.target.wants/picket-agent.path" ] && [ -L "$root/etc/systemd/system/sysinit.target.wants/picket-isolation.service" ]
}

rpm_installs() {
    in_words --install --nodeps $(rpms "$old")
    chroot "$root" picket-agent --version
    chroot "$root" picketctl --version
    chroot "$root" getent group picket
    chroot "$root" getent passwd picket-collector
    is_enabled
    in_root --verify --nodeps picket-agent picket-collector picketctl
}

rpm_upgrades() {
    echo 'cpu_percent = 90' >>"$root/etc/picket/agent.toml"
    mkdir -p "$root/var/lib/picket"
    echo '{}' >"$root/var/lib/picket/host.json"
    rm "$root/etc/systemd/system/multi-user.target.wants/picket-collector.service"
    in_words --upgrade --nodeps $(rpms "$new")
    [ "$(in_root --query --queryformat '%{VERSION}-%{RELEASE}' picket-agent)" = "$new" ]
    grep -qx 'cpu_percent = 90' "$root/etc/picket/agent.toml"
    is_enabled
    [ ! -L "$root/etc/systemd/system/multi-user.target.wants/picket-collector.service" ]
}

rpm_erases() {
    in_words --erase picket-agent picket-collector picketctl
    [ ! -e "$root/usr/bin/picket-agent" ]
    [ -e "$root/var/lib/picket/host.json" ]
    grep -qx 'cpu_percent = 90' "$root/etc/picket/agent.toml.rpmsave"
    find "$root" -xdev -name '*picket*' | sort
    [ -z "$(find "$root/usr" "$root/etc/systemd" -xdev -name '*picket*')" ]
}

signed() {
    rpmkeys --root "$root" --define '_dbpath /var/lib/rpm' --checksig "$1" | grep 'digests signatures OK$'
}

a_changed_rpm_is_refused() {
    in_root --import "$work/repository/picket-archive-keyring.asc"
    for rpm in "$work"/repository/rpm/*.rpm; do
        signed "$rpm"
    done
    cp "$rpm" "$work/changed.rpm"
    printf x | dd of="$work/changed.rpm" bs=1 seek=$(($(stat -c %s "$rpm") - 1000)) conv=notrunc status=none
    if signed "$work/changed.rpm"; then
        return 1
    fi
}

try_root() {
    [ "$(id -u)" = 0 ] || { skip "a root" "needs root (chroot)"; return; }
    command -v rpm >/dev/null 2>&1 || { skip "a root" "rpm is missing"; return; }
    image=$("$vm/image.sh" bookworm 2>"$work/why") || { skip "a root" "$(tail -n 1 "$work/why")"; return; }
    root=$work/root
    mkdir "$root"
    (cd "$root" && gzip -dc "$image" | cpio --quiet -idm)
    check rpm_a_changed_package_is_refused a_changed_rpm_is_refused
    check rpm_installs rpm_installs
    check rpm_upgrade_keeps_settings rpm_upgrades
    check rpm_erase_keeps_state rpm_erases
}

# The guest's script, the repository, and what starts the script, laid over a root. lay_over ROOT PLACE
lay_over() {
    mkdir -p "$1/vm" "$1/etc/systemd/system/multi-user.target.wants"
    cp "$here/guest.sh" "$vm/verdict.sh" "$1/vm"
    cp -R "$work/repository" "$1/vm/repository"
    rm -rf "$1/vm/repository/rpm"
    printf 'old=%s\nnew=%s\nplace=%s\n' "$old" "$new" "$2" >"$1/vm/releases"
    printf '[Unit]\nAfter=dbus.service\n[Service]\nType=exec\nExecStart=/vm/guest.sh\n' >"$1/etc/systemd/system/picket-vm.service"
    ln -s ../picket-vm.service "$1/etc/systemd/system/multi-user.target.wants/picket-vm.service"
}

# judge CODE: counts what the guest said
judge() {
    tr -d '\r' <"$log" | grep -a '^PICKET-VM\|^    ' | sed 's/^PICKET-VM //' || true
    counts=$(tr -d '\r' <"$log" | sed -n 's/^PICKET-VM verdict passed=\([0-9]*\) failed=\([0-9]*\).*/\1 \2/p' | tail -n 1)
    : "${counts:=0 1}"
    passed=$((passed + ${counts% *}))
    failed=$((failed + ${counts#* }))
    if [ "$counts" = '0 1' ] || { [ "$1" != 0 ] && [ "${counts#* }" = 0 ]; }; then
        echo "no end that counts (console: $log)" >&2
        failed=$((failed + 1))
    fi
}

# The build machine's kernel: the agent is told to take the source that asks nothing of it.
try_container() {
    [ "$(id -u)" = 0 ] || { skip "a container" "needs root"; return; }
    command -v systemd-nspawn >/dev/null 2>&1 || { skip "a container" "systemd-nspawn is missing (Debian: systemd-container)"; return; }
    image=$("$vm/image.sh" bookworm 2>"$work/why") || { skip "a container" "$(tail -n 1 "$work/why")"; return; }
    machine=$work/picket-packages
    mkdir "$machine"
    (cd "$machine" && gzip -dc "$image" | cpio --quiet -idm)
    lay_over "$machine" container
    mkdir -p "$machine/etc/systemd/system/picket-agent.service.d"
    printf '[Service]\nExecStart=\nExecStart=/usr/bin/picket-agent run --source portable\n' >"$machine/etc/systemd/system/picket-agent.service.d/source.conf"
    log=$cache/vm/packages-container.log
    : >"$machine/vm/console"
    result=133
    starts=0
    while [ $result = 133 ] && [ $starts -lt 2 ]; do # 133: it asks to be started anew
        starts=$((starts + 1))
        result=0
        timeout --kill-after=10 "${LIMIT:-1800}" systemd-nspawn --quiet --boot --directory="$machine" --register=no --keep-unit \
            --private-network --console=pipe </dev/null >"$work/nspawn" 2>&1 || result=$?
    done
    cat "$work/nspawn" "$machine/vm/console" >"$log"
    rmdir /run/systemd/nspawn/propagate/picket-packages 2>/dev/null || true # nspawn leaves it, empty
    judge $result
}

# An initramfs of a whole Debian.
whole() {
    image=$("$vm/image.sh" bookworm) || return 1
    lay_over "$work/over" kernel
    (cd "$work/over" && find . | cpio --quiet -o -H newc --owner 0:0 | gzip -1) >"$work/over.cpio.gz"
    cat "$image" "$work/over.cpio.gz" >"$work/whole"
}

try_kernel() {
    command -v qemu-system-x86_64 >/dev/null 2>&1 || { skip "a guest" "qemu-system-x86_64 is missing"; return; }
    kernel=$("$vm/kernel.sh" bookworm 2>"$work/why") || { skip "a guest" "$(tail -n 1 "$work/why")"; return; }
    whole 2>"$work/why" || { skip "a guest" "$(tail -n 1 "$work/why")"; return; }
    log=$cache/vm/packages-kernel.log
    result=0
    # On a busy machine the emulated timer may miss the test that the kernel makes of it, and the kernel gives up.
    LOG=$log LIMIT=${LIMIT:-3600} MEMORY=4096 "$vm/boot.sh" "$kernel" "$work/whole" \
        no_timer_check lsm=lockdown,capability,landlock,yama,apparmor,bpf systemd.show_status=false >/dev/null || result=1
    judge $result
}

mkdir -p "$cache/vm"
make_repository
check the_lists_are_signed signatures_of_the_lists_fit
for place in ${PICKET_PLACES:-root container kernel}; do
    try_"$place"
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]
