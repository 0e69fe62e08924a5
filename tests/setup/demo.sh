#!/usr/bin/env bash
# `make demo`: builds the release programs and plays the main job against the lab.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need_rust
need_lab
cargo build --release --bins -p daemon -p wardend -p verify -p cli -p fakes -p system
export HOLDFAST_BIN=$ROOT/target/release
exec target/release/demo
