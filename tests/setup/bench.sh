#!/usr/bin/env bash
# `make bench`: builds the release programs and measures them against their peers.
# The first argument, when not empty, names the measurements by their prefixes, with commas.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need_rust
need_lab
need_peers
cargo build --release --bins --examples -p daemon -p cli -p fakes -p system -p san -p repository -p vmfs
export HOLDFAST_BIN=$ROOT/target/release
exec target/release/bench ${1:+--only "$1"}
