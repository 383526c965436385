#!/bin/sh
# Unpacks a whole Debian with systemd into a folder. Usage: root.sh SUITE FOLDER [PACKAGE...]
#
# The base has a service manager, D-Bus, cron, an SSH server, sudo, and nobody who may log in: its root has no password. Each PACKAGE
# is installed by apt in the folder; none of its services is started there.
#
# - Needs root, because debootstrap does. Nothing of this machine is changed.
# - Where Debian is comes from this machine's own apt configuration.
# - Exit code 1 and one line on stderr when it cannot be had.
set -eu

suite=${1:?a suite, such as bookworm}
root=${2:?a folder that does not exist yet}
shift 2
base=systemd-sysv,dbus,libpam-systemd,procps,iproute2,kmod,libelf1,openssh-server,sudo,cron
. "$(dirname "$0")/archive.sh"
log=$root.log

fail() {
    echo "Debian $suite: $1" >&2
    exit 1
}

leave() {
    ! mountpoint -q "$root/proc" || umount "$root/proc"
    rm -f "$log"
}

install_packages() {
    security=$(site "^$(codename)-security\$")
    if [ "$suite" = "$(codename)" ] && [ -n "$security" ]; then
        echo "deb $security $suite-security main" >>"$root/etc/apt/sources.list"
    fi
    apt-config dump | grep '^Acquire::' | grep -v '^Acquire::IndexTargets' >"$root/etc/apt/apt.conf.d/99way"
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    mount -t proc proc "$root/proc"
    for words in update "install --yes --no-install-recommends $*"; do
        # shellcheck disable=SC2086 # words on purpose
        DEBIAN_FRONTEND=noninteractive LC_ALL=C chroot "$root" apt-get --quiet $words </dev/null >"$log" 2>&1 ||
            fail "$(grep '^E:' "$log" | head -n 1)"
    done
    rm -f "$root/usr/sbin/policy-rc.d" "$root/etc/apt/apt.conf.d/99way" "$root/etc/resolv.conf"
}

[ "$(id -u)" = 0 ] || fail "debootstrap needs root"
command -v debootstrap >/dev/null 2>&1 || fail "debootstrap is missing"
mirror=$(site "^$(codename)\$")
[ -n "$mirror" ] || fail "apt of this machine knows no Debian archive (apt-get update?)"
trap leave EXIT
debootstrap --variant=minbase --include="$base" "$suite" "$root" "$mirror" >"$log" 2>&1 || fail "$(tail -n 1 "$log")"
[ $# = 0 ] || install_packages "$@"
rm -rf "$root"/usr/share/doc "$root"/usr/share/man "$root"/var/cache/apt "$root"/var/lib/apt/lists
