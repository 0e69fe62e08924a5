# The targets a person types. Each sets up what it needs on a fresh Debian 12 machine by itself
# (packages through apt-get, with sudo when not root), so the order does not matter.

.PHONY: help demo test check bench
.DEFAULT_GOAL := help

help:
	@echo 'make demo    back up, change, back up again, verify, restore, compare, be refused'
	@echo 'make test    every test; the last line counts them'
	@echo 'make check   formatting, lints and the rules of the repository; fast'
	@echo 'make bench   the benchmarks; ONLY=prefix runs a part, such as ONLY=ingest'

demo:
	@tests/setup/demo.sh

test:
	@tests/setup/test.sh

check:
	@tests/setup/check.sh

bench:
	@tests/setup/bench.sh '$(ONLY)'
