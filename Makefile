# `make` alone lists the targets. make is optional: you can also type the commands of a target yourself.

.DEFAULT_GOAL := help
.PHONY: help test test-confined packages-test bench guard lint deny fuzz demo install-test-tools

help: ## List the targets.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 26

# A plain `cargo test` ignores the tests that need real clients or Prometheus' programs, so it needs only Rust. This target
# runs them, and they fail if a program is missing. It also tests the client without its features, which the workspace turns on.
test: install-test-tools ## Run all tests, including those with real clients and Prometheus' own programs.
	cargo test --workspace -- --include-ignored
	cargo test -p tallyd-client --no-default-features

# The system calls that the unit forbids fail in these tests as they do for the service.
test-confined: install-test-tools ## Run the black-box tests under the system call filter of systemd/tallyd.service.
	TALLYD_CONFINED=1 cargo test --test daemon

# Building cargo-deb takes four minutes and downloading Debian one, so .ci/run does not do this.
packages-test: ## Install, upgrade and remove the packages. Needs root, `cargo install cargo-deb cargo-generate-rpm`, rpm and mmdebstrap.
	cargo build
	packaging/test-deb.sh
	packaging/test-rpm.sh

bench: ## Run all benches, which takes minutes. `cargo bench --bench NAME` runs one of them.
	cargo bench --workspace

# This is a release build. It compiles for about a minute, and counts for half a minute.
guard: ## Count instructions and atomic operations, and fail if there are too many. Needs valgrind.
	cargo bench --bench instructions

# Needs `cargo install cargo-fuzz`. Its instrumentation is an unstable feature, which RUSTC_BOOTSTRAP=1 allows in a stable
# compiler.
fuzz: export RUSTC_BOOTSTRAP = 1
fuzz: ## Fuzz each target for SECONDS=60, starting from the conformance cases.
	cd fuzz && cargo run --quiet --bin seed
	for target in datagram stream; do cargo fuzz run $$target -- -max_total_time=$(or $(SECONDS),60) -max_len=1024 || exit 1; done

demo: ## Run an example application with tallyd and a real Prometheus, and query its percentiles.
	examples/demo.sh

# Warnings are errors only here, so that they do not stop a build during work.
lint: ## Check formatting, lints and documentation.
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo check --manifest-path fuzz/Cargo.toml --target-dir target --bins
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps

# The database of advisories is on GitHub. Where that cannot be reached, the other checks still count.
deny: export PATH := tests/clients/.venv/bin:$(PATH)
deny: ## Check the dependencies: licences, sources, duplicates, and advisories if their database can be fetched.
	cargo deny check licenses bans sources
	@if cargo deny fetch db; then cargo deny check --disable-fetch advisories; else \
	    echo 'make deny: ADVISORIES WERE NOT CHECKED, because their database could not be fetched' >&2; fi

install-test-tools: ## Install what `make test`, `make deny` and `make guard` need: Debian, PyPI and npm packages. Starts no service.
	bash tests/install.sh
