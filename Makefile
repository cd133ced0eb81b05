# Thin on purpose: each target is one script, which says what it does and what it installs.

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench fuzz clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## build, and hold off a made-up attack live, with three agents (DURATION=20)
	@scripts/demo

test: ## everything that must hold: format, lints, tests, the reference, live runs, fuzzing, docs
	@scripts/test

lint: ## the format and the lints only
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

bench: ## measure the hot path and the whole program
	@scripts/bench

fuzz: ## run each fuzz target for a minute
	@scripts/fuzz 60

clean: ## remove what was built and what fuzzing left
	cargo clean
	rm -rf fuzz/target fuzz/corpus fuzz/artifacts
