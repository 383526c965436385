#!/bin/sh
# Checks that packages hold what packaging/contents says, and no more. Usage: check-contents.sh DEB...
#
# A list has one line for each file and folder of its own: mode, owner, path; man pages of verbs stand there as `PROGRAM-*`. Also
# checked: which files are settings, and that each maintainer's script is sh that parses.
# `UPDATE=1 check-contents.sh DEB...` writes the lists.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export LC_ALL=C

# Folders that others have too say nothing.
listed() {
    dpkg-deb --contents "$1" | awk '{ print $1, $2, $6 }' | sed 's| \./| /|' |
        grep -Ev ' /((usr|etc)/)?$|^d.* /usr/(bin|lib|share)/$|^d.* /usr/(lib|share)/[a-z.-]*/((system|man1|completions|vendor-completions)/)?$' |
        sed -E "s|(/man1/$name)-[a-z-]+\.1\.gz\$|\1-*.1.gz|" | sort -k 3 -u
    mkdir "$work/control"
    dpkg-deb --control "$1" "$work/control"
    sed 's/^/settings /' "$work/control/conffiles" 2>/dev/null || true
    for script in preinst postinst prerm postrm; do
        [ ! -e "$work/control/$script" ] || { sh -n "$work/control/$script" && echo "script $script"; }
    done
    rm -rf "$work/control"
}

wrong=0
for deb; do
    name=$(dpkg-deb --field "$deb" Package)
    listed "$deb" >"$work/found"
    if [ -n "${UPDATE:-}" ]; then
        cp "$work/found" "$here/contents/$name.list"
    elif ! diff -u "$here/contents/$name.list" "$work/found" >&2; then
        echo "$name: not what packaging/contents/$name.list says" >&2
        wrong=1
    fi
done
exit $wrong
