#!/usr/bin/env bash
# `make test`: every test of the repository, with what is slow and one line of totals at the end.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need_rust
need_lab
need_guests
need_packages qemu-utils # qemu-img and qemu-io: a second reader of virtual disks
exec python3 tests/setup/steps.py check test
