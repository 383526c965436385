#!/bin/sh
# Gives the kernel image of a Debian suite: prints its path. Usage: kernel.sh SUITE
#
# The image is fetched once into PICKET_CACHE/kernels/SUITE and kept from then on; FRESH=1 asks Debian again.
#
# - Where Debian is comes from this machine's own apt configuration; only the name of the suite is put in its place.
# - apt checks the signatures against debian-archive-keyring, in a root of its own: the machine's lists stay as they are.
# - Nothing of the package is kept or run but the image.
# - Exit code 1 and one line on stderr when the kernel cannot be had.
set -eu

suite=${1:?a suite, such as bookworm or trixie-backports}
keep=${PICKET_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/picket}/kernels/$suite
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
. "$(dirname "$0")/archive.sh"

fail() {
    echo "kernel of $suite: $1" >&2
    exit 1
}

kept() {
    ls "$keep"/vmlinuz-* 2>/dev/null | sort -V | tail -n 1
}

# A root for apt: this machine's way to the net, one suite, nothing installed.
write_root() {
    codename=$(codename)
    main=$(site "^$codename\$")
    [ -n "$codename" ] && [ -n "$main" ] || fail "apt of this machine knows no Debian archive (apt-get update?)"
    security=$(site "^$codename-security\$")
    mkdir -p "$root/lists/partial" "$root/archives/partial"
    echo "deb [signed-by=$keyring] $main $suite main" >"$root/sources.list"
    case $suite in
    *-backports) ;;
    *) [ -z "$security" ] || echo "deb [signed-by=$keyring] $security $suite-security main" >>"$root/sources.list" ;;
    esac
    apt-config dump | grep '^Acquire::' | grep -v '^Acquire::IndexTargets' >"$root/apt.conf"
    cat >>"$root/apt.conf" <<CONF
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::sourcelist "$root/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State "$root";
Dir::State::lists "$root/lists";
Dir::State::status "/dev/null";
Dir::Cache "$root";
Dir::Cache::archives "$root/archives";
APT::Sandbox::User "$(id -un)";
Acquire::Languages "none";
CONF
}

# depends PACKAGE PREFIX: the first dependency whose name begins so
depends() {
    apt-cache depends "$1" | sed -n "s/^ *Depends: \\($2.*\\)/\\1/p" | head -n 1
}

# The package that holds the image: what linux-image-amd64 of this suite stands for, or since 7.x what that one depends on.
package() {
    image=$(depends linux-image-amd64 'linux-image-[0-9]')
    [ -n "$image" ] || fail "the suite has no linux-image-amd64"
    binary=$(depends "$image" linux-binary-)
    echo "${binary:-$image}"
}

# image_in DEB: the member that is the kernel
image_in() {
    dpkg-deb --contents "$1" | awk '{ print $6 }' | grep -E '^\./(boot/vmlinuz-.*|usr/lib/modules/[^/]*/vmlinuz)$' || true
}

fetch() {
    [ -r "$keyring" ] || fail "no $keyring (package debian-archive-keyring)"
    root=$(mktemp -d)
    trap 'rm -rf "$root"' EXIT
    write_root
    export APT_CONFIG="$root/apt.conf"
    apt-get update >"$root/log" 2>&1 || fail "$(grep '^E:' "$root/log" | head -n 1)"
    name=$(package)
    echo "fetching $name of $suite" >&2
    (cd "$root" && apt-get download "$name" >log 2>&1) || fail "$(tail -n 1 "$root/log")"
    image=$(image_in "$root"/linux-*.deb)
    [ -n "$image" ] || fail "no kernel image in $name"
    dpkg-deb --fsys-tarfile "$root"/linux-*.deb | tar -C "$root" -x "$image"
    mv "$root/$image" "$keep/vmlinuz-${name#linux-*-}"
}

mkdir -p "$keep"
exec 9>"$keep/.lock"
flock 9
if [ -n "${FRESH:-}" ] || [ -z "$(kept)" ]; then
    fetch
fi
kept
