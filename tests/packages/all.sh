#!/bin/sh
# Packs two releases of what is there and tries them. Usage: all.sh PROGRAMS
#
# PROGRAMS is a folder of built programs. The packages of one release are made twice and must be the same, byte for byte.
set -eu

programs=${1:?the folder of the programs}
here=$(cd "$(dirname "$0")" && pwd)
packaging=$here/../../packaging
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$here/../../Cargo.toml")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$packaging/check-units.sh"
PICKET_RELEASE=1 "$packaging/packages.sh" "$work/packages" "$programs"
PICKET_RELEASE=1 "$packaging/packages.sh" "$work/again" "$programs" >/dev/null
for package in "$work"/again/*.deb "$work"/again/*.rpm; do
    cmp "$package" "$work/packages/$(basename "$package")"
done
echo "packed twice: the same bytes"
PICKET_RELEASE=2 "$packaging/packages.sh" "$work/packages" "$programs"
"$here/run.sh" "$work/packages" "$version-1" "$version-2"
