#!/bin/sh
# Packs an initramfs that runs privileged tests. Usage: initramfs.sh OUTPUT PROGRAM=NAME...
#
# Each PROGRAM is a test binary, found in the guest as /tests/NAME; the tests it has in modules named `privileged` are listed in
# /tests/list as `NAME TEST`. With AGENT=FILE that program is /usr/bin/picket-agent. init.sh becomes /init.
#
# - The guest has this machine's own programs (coreutils, dash, util-linux, a bare python3) with the libraries they ask for; busybox
#   stands in for what is not there.
# - Packed from a folder of its own; nothing of this machine is changed.
set -eu

output=${1:?an output file}
shift
here=$(cd "$(dirname "$0")" && pwd)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

programs="sh true false sleep echo cat mkdir rmdir mv rm chmod chown ln ls cp touch id head env kill stat dd sync
    mount umount unshare nsenter timeout seq tail wc date"

skeleton() {
    for folder in usr/bin usr/lib usr/lib64 tests proc sys dev tmp run root etc var/log; do
        mkdir -p "$root/$folder"
    done
    ln -s usr/bin "$root/bin"
    ln -s usr/bin "$root/sbin"
    ln -s bin "$root/usr/sbin"
    ln -s usr/lib "$root/lib"
    ln -s usr/lib64 "$root/lib64"
    printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' 'daemon:x:1:1:daemon:/:/bin/false' >"$root/etc/passwd"
    echo 'root:x:0:' >"$root/etc/group"
    echo '127.0.0.1 localhost' >"$root/etc/hosts"
    cp "$here/init.sh" "$root/init"
    cp "$here/verdict.sh" "$root/verdict.sh"
    chmod 755 "$root" "$root/init" # mktemp let in only its owner, and some tests act as nobody
}

# add FILE [AS]: a file, and the libraries it is linked to
add() {
    target=$root${2:-$1}
    mkdir -p "$(dirname "$target")"
    cp -L "$1" "$target"
    ldd "$1" 2>/dev/null | grep -o '/[^ ]*' | while read -r library; do
        [ -e "$root$library" ] || { mkdir -p "$root$(dirname "$library")" && cp -L "$library" "$root$library"; }
    done
}

add_programs() {
    for name in $programs; do
        file=$(command -v -- "$name" 2>/dev/null || true)
        case $name in # words that the shell has too
        true | false | echo | kill) file=/bin/$name ;;
        esac
        [ -x "$file" ] && add "$(readlink -f "$file")" "/usr/bin/$name" || echo "not packed: $name" >&2
    done
    add "$(command -v busybox)" /usr/bin/busybox
    busybox --list | while read -r name; do
        [ -e "$root/usr/bin/$name" ] || ln -s busybox "$root/usr/bin/$name"
    done
}

# The modules that python3 loads for what the tests do, and no others.
add_python() {
    [ -x /usr/bin/python3 ] || return 0
    add "$(readlink -f /usr/bin/python3)" /usr/bin/python3
    /usr/bin/python3 -I -S -c '
import sys, os, threading, encodings.ascii, encodings.latin_1, ctypes, mmap, socket
for module in list(sys.modules.values()):
    file = getattr(module, "__file__", None)
    if file: print(file)
' | while read -r file; do
        add "$file"
    done
}

add_tests() {
    : >"$root/tests/list"
    for pair; do
        name=${pair#*=}
        add "${pair%%=*}" "/tests/$name"
        strip --strip-debug "$root/tests/$name" 2>/dev/null || true
        "${pair%%=*}" --list --format terse 2>/dev/null |
            sed -n "s/^\(\(.*::\)\{0,1\}privileged::.*\): test\$/$name \1/p" >>"$root/tests/list"
    done
    [ -s "$root/tests/list" ] || { echo "no privileged tests in: $*" >&2; exit 1; }
}

skeleton
add_programs
add_python
add_tests "$@"
if [ -n "${AGENT:-}" ]; then
    add "$AGENT" /usr/bin/picket-agent
    strip --strip-debug "$root/usr/bin/picket-agent" 2>/dev/null || true
fi
(cd "$root" && find . | cpio --quiet -o -H newc --owner 0:0 | gzip -1) >"$output.part"
mv "$output.part" "$output"
