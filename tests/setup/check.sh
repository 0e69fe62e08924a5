#!/usr/bin/env bash
# `make check`: formatting, lints with warnings denied, and the rules of the repository.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need_rust
need_go
exec python3 tests/setup/steps.py check
