#!/bin/sh
# Tries the packages. Usage: run.sh PACKAGES OLD NEW
#
# PACKAGES has the deb and rpm files of two releases of one version, OLD and NEW (as `0.1.0-1`). A repository is made of them, signed
# with a key that is made for it and thrown away.
#
#   root   rpm in an unpacked Debian (chroot): signature, installed, upgraded, erased
#   guest  deb in a whole Debian with systemd, in QEMU (tests/packages/guest.sh)
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
    PICKET_SIGNING_KEY=$(gpg --batch --list-keys --with-colons | awk -F: '$1 == "fpr" { print $10; exit }')
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
    [ -L "$root/etc/systemd/system/multi-user.target.wants/picket-agent.service" ] && [ -L "$root/etc/systemd/system/paths.target.wants/picket-agent.path" ]
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

# An initramfs of a whole Debian with the repository and the guest's script in it.
whole() {
    image=$("$vm/image.sh" bookworm) || return 1
    over=$work/over
    mkdir -p "$over/vm" "$over/etc/systemd/system/multi-user.target.wants"
    cp "$here/guest.sh" "$vm/verdict.sh" "$over/vm"
    cp -R "$work/repository" "$over/vm/repository"
    rm -rf "$over/vm/repository/rpm"
    printf 'old=%s\nnew=%s\n' "$old" "$new" >"$over/vm/releases"
    printf '[Unit]\nAfter=dbus.service\n[Service]\nType=exec\nExecStart=/vm/guest.sh\n' >"$over/etc/systemd/system/picket-vm.service"
    ln -s ../picket-vm.service "$over/etc/systemd/system/multi-user.target.wants/picket-vm.service"
    (cd "$over" && find . | cpio --quiet -o -H newc --owner 0:0 | gzip -1) >"$work/over.cpio.gz"
    cat "$image" "$work/over.cpio.gz" >"$work/whole"
}

try_guest() {
    command -v qemu-system-x86_64 >/dev/null 2>&1 || { skip "a guest" "qemu-system-x86_64 is missing"; return; }
    kernel=$("$vm/kernel.sh" bookworm 2>"$work/why") || { skip "a guest" "$(tail -n 1 "$work/why")"; return; }
    whole 2>"$work/why" || { skip "a guest" "$(tail -n 1 "$work/why")"; return; }
    mkdir -p "$cache/vm"
    result=0
    LOG=$cache/vm/packages.log LIMIT=${LIMIT:-3600} MEMORY=4096 "$vm/boot.sh" "$kernel" "$work/whole" \
        lsm=lockdown,capability,landlock,yama,apparmor,bpf systemd.show_status=false >"$work/guest" || result=1
    sed 's/^PICKET-VM //' "$work/guest"
    counts=$(sed -n 's/^PICKET-VM verdict passed=\([0-9]*\) failed=\([0-9]*\).*/\1 \2/p' "$work/guest")
    passed=$((passed + ${counts% *}))
    failed=$((failed + ${counts#* }))
    [ $result = 0 ] || [ "${counts#* }" != 0 ] || failed=$((failed + 1))
}

make_repository
check the_lists_are_signed signatures_of_the_lists_fit
try_root
try_guest
echo "$passed passed, $failed failed"
[ $failed = 0 ]
