#!/bin/sh
# Checks that programs are built as they should be. Usage: check-binaries.sh GLIBC PROGRAM...
#
# For each PROGRAM: position independent (PIE), relocations read-only from the start (RELRO, BIND_NOW), no executable stack (NX), no
# writable and executable segment, no run path, only libraries that every distribution has, and no symbol of a glibc newer than
# GLIBC. Prints one line each; exit code 1 and a line on stderr for each thing that is wrong.
set -eu

baseline=${1:?a version of glibc, such as 2.34}
shift
known='libc.so.6 libm.so.6 libgcc_s.so.1 libelf.so.1 libz.so.1 ld-linux-x86-64.so.2'
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export LC_ALL=C
wrong=0

complain() {
    echo "$program: $1" >&2
    wrong=1
}

# says PATTERN: whether readelf says it of this program
says() {
    grep -Eq "$1" "$work/elf"
}

# The newest glibc whose symbols it asks for.
newest() {
    grep -o 'GLIBC_[0-9.]*' "$work/elf" | sed 's/GLIBC_//' | sort -uV | tail -n 1
}

for program; do
    readelf --wide --file-header --program-headers --dynamic --version-info "$program" >"$work/elf"
    says '^ *Type: *DYN' && says '\(FLAGS_1\).*PIE' || complain "not position independent"
    says 'GNU_RELRO' && says '\(FLAGS_1\).*NOW|BIND_NOW' || complain "relocations stay writable"
    says 'GNU_STACK .* RW +(0x)?[0-9]' || complain "stack is executable, or its header is missing"
    ! says '^ *LOAD .* RWE ' || complain "a segment is writable and executable"
    ! says '\((RPATH|RUNPATH)\)' || complain "has a run path"
    libraries=$(sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' "$work/elf" | tr '\n' ' ')
    for library in $libraries; do
        case " $known " in
        *" $library "*) ;;
        *) complain "needs $library" ;;
        esac
    done
    found=$(newest)
    [ "$(printf '%s\n%s\n' "$found" "$baseline" | sort -V | tail -n 1)" = "$baseline" ] || complain "needs glibc $found, newer than $baseline"
    echo "$(basename "$program"): PIE, RELRO, BIND_NOW, NX, no run path; glibc $found; $libraries"
done
exit $wrong
