#!/bin/sh
# Installs, or names, what a verb of the Makefile needs. Usage: prerequisites.sh build|check|test
#
# As root on Debian it installs what is missing; otherwise it says what is missing and how to get it. Does nothing when all is there.
set -eu

verb=${1:?build, check or test}
tools=${PICKET_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/picket}/tools
missing=

# need PACKAGE TEST...: remembers the Debian package if the test fails
need() {
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

have_rust() {
    command -v cargo >/dev/null 2>&1 || {
        echo "error: cargo is missing" >&2
        echo "hint: install Rust 1.95 or newer (https://rustup.rs), then run this again" >&2
        exit 1
    }
}

install_missing() {
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "installing:$missing"
        log=$(mktemp)
        if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
            cat "$log" >&2
            exit 1
        fi
        rm -f "$log"
    else
        echo "error: missing packages:$missing" >&2
        echo "hint: as root: apt-get install$missing" >&2
        exit 1
    fi
}

# cargo_tool PROGRAM CRATE: builds it once into the cache
cargo_tool() {
    command -v "$1" >/dev/null 2>&1 || [ -x "$tools/bin/$1" ] || {
        echo "building $2 once into $tools (some minutes)"
        CARGO_TARGET_DIR="$tools/target" cargo install --quiet --locked --root "$tools" "$2"
        rm -rf "$tools/target"
    }
}

have_rust
case $verb in
build)
    need gcc command -v cc
    need make command -v make
    need pkg-config command -v pkg-config
    need libelf-dev test -e /usr/include/libelf.h
    need zlib1g-dev test -e /usr/include/zlib.h
    install_missing
    ;;
check)
    need clang-14 command -v clang-14
    need llvm-14 command -v llvm-strip-14
    install_missing
    cargo_tool cargo-deny cargo-deny
    ;;
test)
    cargo_tool cargo-nextest cargo-nextest
    ;;
*)
    echo "error: unknown verb $verb" >&2
    exit 2
    ;;
esac
