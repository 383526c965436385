#!/bin/sh
# Gives a whole Debian with systemd as an initramfs: prints its path. Usage: image.sh SUITE
#
# Made once with debootstrap and kept in PICKET_CACHE/images; FRESH=1 makes it anew. It has a service manager, D-Bus, cron, an SSH
# server, sudo, and nobody who may log in: its root has no password.
#
# - Needs root, because debootstrap does. It works in a folder of its own and starts no service.
# - Where Debian is comes from this machine's own apt configuration.
# - Exit code 1 and one line on stderr when it cannot be had.
set -eu

suite=${1:?a suite, such as bookworm}
here=$(cd "$(dirname "$0")" && pwd)
keep=${PICKET_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/picket}/images
image=$keep/$suite.cpio.gz

make_image() {
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    echo "making an image of $suite (some minutes)" >&2
    root=$work/root
    "$here/root.sh" "$suite" "$root" || exit 1
    rm -rf "$root"/usr/share/locale
    ln -sf usr/lib/systemd/systemd "$root/init"
    (cd "$root" && find . -xdev | cpio --quiet -o -H newc | gzip -1) >"$image.part"
    mv "$image.part" "$image"
}

mkdir -p "$keep"
exec 9>"$keep/.lock"
flock 9
if [ -n "${FRESH:-}" ] || [ ! -e "$image" ]; then
    make_image
fi
echo "$image"
