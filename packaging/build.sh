#!/bin/sh
# Builds the programs as they are packed: release profile, no path of this machine in them. Usage: build.sh TARGET
#
# TARGET is a folder for cargo of its own: other flags than the everyday build's would have both built anew each time. Prints the
# folder of the programs.
#
# - Nothing in the programs names the clone, cargo's home or TARGET. How far two builds are the same: docs/decisions/0009.
# - C code of crates is compiled with stack protector and fortified calls.
set -eu

target=${1:?a target folder}
cd "$(dirname "$0")/.."
root=$(pwd)
cargo_home=${CARGO_HOME:-$HOME/.cargo}
mkdir -p "$target"
target=$(cd "$target" && pwd)

export CARGO_TARGET_DIR="$target"
export SOURCE_DATE_EPOCH=0 # one that no commit changes, so that what is built stays built
export RUSTFLAGS="--remap-path-prefix=$cargo_home=/cargo --remap-path-prefix=$root=/picket --remap-path-prefix=$target=/target -Clink-arg=-Wl,--build-id=sha1"
export CFLAGS="-O2 -fstack-protector-strong -D_FORTIFY_SOURCE=2 -ffile-prefix-map=$cargo_home=/cargo -ffile-prefix-map=$target=/target -ffile-prefix-map=$root=/picket"
cargo build --quiet --release --locked -p picket-agent -p picket-collector -p picketctl
echo "$target/release"
