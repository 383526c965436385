#!/bin/sh
# Gives another Debian's root as a folder, with the programs that people log in by: prints its path. Usage: debian.sh SUITE
#
# Made once with debootstrap and kept in PICKET_CACHE/grounds; FRESH=1 makes it anew. Needs root; starts no service.
# Where Debian is comes from this machine's own apt configuration.
set -eu

suite=${1:?a suite, such as trixie}
here=$(cd "$(dirname "$0")" && pwd)
keep=${PICKET_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/picket}/grounds
root=$keep/$suite
programs="openssh-server openssh-client sudo cron rsyslog systemd login passwd bsdutils libelf1 procps"
# From trixie on they take the place of wtmp and lastlog.
records="wtmpdb libpam-wtmpdb lastlog2 libpam-lastlog2"
. "$here/../vm/archive.sh"

fail() {
    echo "ground of $suite: $1" >&2
    exit 1
}

# install LOG PACKAGE...: in the new root, with its own apt
install() {
    log=$1
    shift
    chroot "$root.part" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >>"$log" 2>&1
}

make_root() {
    [ "$(id -u)" = 0 ] || fail "debootstrap needs root"
    command -v debootstrap >/dev/null 2>&1 || fail "debootstrap is missing"
    mirror=$(site "^$(codename)\$")
    [ -n "$mirror" ] || fail "apt of this machine knows no Debian archive (apt-get update?)"
    rm -rf "$root.part"
    log=$(mktemp)
    echo "making a root of $suite (some minutes)" >&2
    debootstrap --variant=minbase "$suite" "$root.part" "$mirror" >"$log" 2>&1 || fail "$(tail -n 1 "$log")"
    install "$log" $programs || fail "$(tail -n 1 "$log")"
    if chroot "$root.part" apt-cache show $records >/dev/null 2>&1; then
        install "$log" $records || fail "$(tail -n 1 "$log")"
    else
        echo "$suite has no wtmpdb and lastlog2" >&2
    fi
    rm -rf "$root.part/var/cache/apt" "$log" "$root"
    mv "$root.part" "$root"
}

mkdir -p "$keep"
exec 9>"$keep/.lock"
flock 9
if [ -n "${FRESH:-}" ] || [ ! -e "$root" ]; then
    make_root
fi
echo "$root"
