# The commands of this repository. Each sets up what it needs (Debian 12, as root).

.PHONY: help setup demo test test-nix test-state check bench clean-cache
MAKEFLAGS += --no-print-directory
export PATH := $(PATH):$(HOME)/.cargo/bin
CARGO = cargo
MANIFEST = --manifest-path orchestrator/Cargo.toml

help:
	@echo "make setup   Debian packages, Rust build, guest root; once, then seconds"
	@echo "make demo    the whole story in the sandbox: deploy, interrupt, resume, destroy"
	@echo "make test    every test"
	@echo "make test-nix the Nix modules alone: evaluation, snapshots, lints; seconds"
	@echo "make test-state Synapse, Garage and stand-ins in the sandbox: captured, destroyed, restored, rehearsed"
	@echo "make check   the fast part: formatting, lints, unit tests, drift of generated files"
	@echo "make bench   figures as a table and in target/bench.json"

setup:
	@tests/setup/setup

demo: setup
	@tests/sandbox/demo

test: setup
	@tests/run

test-nix:
	@tests/nix/run

test-state: setup
	@tests/state/run
	@tests/apps/run

check:
	@tests/setup/setup --check
	@tests/check

# One figure, or a quick look: make bench BENCH="--quick state.postgres"
bench: setup
	@$(CARGO) build --quiet --locked --release $(MANIFEST) -p fedi -p fedi-bench
	@PATH="$$(dirname "$$(tests/setup/restic)"):$$PATH" target/release/fedi-bench $(BENCH)

clean-cache:
	@tests/setup/clean-cache
