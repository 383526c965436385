#!/bin/sh
# What a program is made of. Usage: sbom.sh PACKAGE SBOM NOTICES
#
# Writes a CycloneDX 1.5 list of every crate that is linked into PACKAGE (SBOM), and the notices that their authors ask to be
# handed on (NOTICES, compressed).
#
# - Both come from what cargo resolves for this target with the locked versions: no build script, macro or test crate that ends
#   in no program is listed. C code that crates carry (libbpf, SQLite, zstd, ring's assembly) counts as part of its crate.
# - The same Cargo.lock gives the same bytes.
set -eu

package=${1:?a package} sbom=${2:?an output file} notices=${3:?an output file}
target=x86_64-unknown-linux-gnu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export LC_ALL=C

# Lines `NAME VERSION LICENCE`, the package first. A path behind the version means: one of ours.
crates() {
    cargo tree --quiet --locked --package "$package" --target $target --edges normal,no-proc-macro --prefix none --format '{p}|{l}' |
        sed 's/ (\*)$//' | awk -F'|' '{ split($1, part, " "); sub(/^v/, "", part[2]); print part[1] "|" part[2] "|" $2 }' | awk '!seen[$0]++'
}

crates >"$work/all"
head -n 1 "$work/all" >"$work/listed"
tail -n +2 "$work/all" | sort >>"$work/listed"

awk -F'|' '
    # Cargo.lock first: the checksum of each name and version.
    FNR == NR {
        if ($0 ~ /^name = /) { gsub(/^name = |"/, "", $0); name = $0 }
        if ($0 ~ /^version = /) { gsub(/^version = |"/, "", $0); version = $0 }
        if ($0 ~ /^checksum = /) { gsub(/^checksum = |"/, "", $0); sum[name "|" version] = $0 }
        next
    }
    function component(kind, indent,   text) {
        text = indent "{\"type\":\"" kind "\",\"bom-ref\":\"pkg:cargo/" $1 "@" $2 "\",\"name\":\"" $1 "\",\"version\":\"" $2 "\""
        text = text ",\"purl\":\"pkg:cargo/" $1 "@" $2 "\",\"licenses\":[{\"expression\":\"" expression($3) "\"}]"
        if (($1 "|" $2) in sum) text = text ",\"hashes\":[{\"alg\":\"SHA-256\",\"content\":\"" sum[$1 "|" $2] "\"}]"
        return text "}"
    }
    # Some crates still write MIT/Apache-2.0.
    function expression(text) { gsub(/ *\/ */, " OR ", text); return text }
    FNR == 1 {
        print "{\"bomFormat\":\"CycloneDX\",\"specVersion\":\"1.5\",\"version\":1,"
        print "\"metadata\":{\"component\":" component("application", "") "},"
        print "\"components\":["
        next
    }
    { printf "%s%s", FNR == 2 ? "" : ",\n", component("library", "") }
    END { print "\n]}" }
' Cargo.lock "$work/listed" >"$sbom"

# Sources of the crates of registries lie beside each other, as NAME-VERSION.
cargo metadata --quiet --locked --format-version 1 --filter-platform $target | tr ',' '\n' |
    sed -n 's/.*"manifest_path":"\([^"]*\)\/Cargo.toml".*/\1/p' >"$work/folders"
while IFS='|' read -r name version _; do
    folder=$(grep -m 1 "/$name-$version\$" "$work/folders") || continue
    for file in "$folder"/LICEN[CS]E* "$folder"/COPYING* "$folder"/NOTICE* "$folder"/COPYRIGHT*; do
        [ -f "$file" ] || continue
        printf '==== %s %s, %s\n\n' "$name" "$version" "$(basename "$file")"
        cat "$file"
        printf '\n\n'
    done
done <"$work/listed" >"$work/notices"
gzip -9 --no-name --stdout "$work/notices" >"$notices"
