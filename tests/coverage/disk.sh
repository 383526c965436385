#!/bin/sh
# Gives the disk of the guest in which coverage is measured: prints the folder with `disk.raw`, `vmlinuz` and `initrd`. Usage: disk.sh
#
# A whole Debian 12 with what packages.list names, an ordinary user (`alex`, uid 1000, without a password, in no further group) and the
# unit that takes the programs of a run from the second drive. Made once, kept in PICKET_CACHE/coverage; made anew when one of the
# files that say what is in it has changed, or with FRESH=1.
#
# - Needs root, because debootstrap does. It works in a folder of its own and starts no service.
# - Exit code 1 and one line on stderr when it cannot be had.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
keep=${PICKET_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/picket}/coverage
made=$keep/debian
recipe=$(cat "$here/packages.list" "$here/disk.sh" "$here/guest.service" "$here/initrd.sh" "$here/../vm/root.sh" | sha256sum | cut -d' ' -f1)

fail() {
    echo "disk of the guest: $1" >&2
    exit 1
}

account() {
    chroot "$root" useradd --create-home --shell /bin/bash --uid 1000 alex
    chroot "$root" passwd --delete root >/dev/null
    printf '127.0.0.1 localhost host\n' >"$root/etc/hosts"
    echo host >"$root/etc/hostname"
    printf 'LANG=C.UTF-8\n' >"$root/etc/default/locale"
    echo '/dev/vda / ext4 errors=remount-ro 0 1' >"$root/etc/fstab"
}

# What only costs time in an emulated machine that nobody shares files with.
services() {
    cp "$here/guest.service" "$root/etc/systemd/system/picket-coverage.service"
    ln -s ../picket-coverage.service "$root/etc/systemd/system/multi-user.target.wants/picket-coverage.service"
    for unit in smbd nmbd samba-ad-dc; do
        ln -sf /dev/null "$root/etc/systemd/system/$unit.service"
    done
    # Servers of recorded hosts: who plays such a host starts them.
    chroot "$root" systemctl --quiet disable nginx postgresql >/dev/null 2>&1
}

make_disk() {
    for tool in mkfs.ext4 qemu-img; do
        command -v $tool >/dev/null 2>&1 || fail "$tool is missing (Debian: e2fsprogs, qemu-utils)"
    done
    work=$(mktemp -d -p "$keep")
    trap 'rm -rf "$work"' EXIT
    root=$work/root
    echo "making the guest's disk (some minutes)" >&2
    # shellcheck disable=SC2046 # words on purpose
    "$here/../vm/root.sh" bookworm "$root" $(grep -v '^#' "$here/packages.list") || exit 1
    account
    services
    cp "$root"/boot/vmlinuz-* "$work/vmlinuz"
    "$here/initrd.sh" "$root" "$work/initrd"
    size=$(($(du -s --block-size=1M "$root" | cut -f1) + 3072))
    truncate -s "${size}M" "$work/disk.raw"
    mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 -d "$root" "$work/disk.raw" || fail "mkfs.ext4 failed"
    rm -rf "$root" "$made"
    echo "$recipe" >"$work/recipe"
    mkdir "$made"
    mv "$work/disk.raw" "$work/vmlinuz" "$work/initrd" "$work/recipe" "$made"
}

mkdir -p "$keep"
exec 9>"$keep/.lock"
flock 9
if [ -n "${FRESH:-}" ] || [ "$(cat "$made/recipe" 2>/dev/null)" != "$recipe" ]; then
    make_disk
fi
echo "$made"
