#!/usr/bin/env bash
# `make bench`: builds the release programs and measures them against their peers.
# The first argument, when not empty, names the measurements by their prefixes, with commas.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need_rust
need_lab
need_peers
packages=(daemon cli fakes system san repository vmfs)
cargo build --release --bins --examples "${packages[@]/#/-p}"
export HOLDFAST_BIN=$ROOT/target/release
exec target/release/bench ${1:+--only "$1"}
