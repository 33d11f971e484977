# `make` alone says what there is. Everything works without make, too: these are the commands to type.

.DEFAULT_GOAL := help
.PHONY: help test bench guard lint fuzz demo install-test-tools

help: ## Say what there is.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 26

# Tests of real clients and of Prometheus' programs are ignored by a plain `cargo test`, which so needs nothing but
# Rust; here they run, and fail where a program is missing. Those in the documentation run along, and the client's without its
# features, which the workspace as a whole turns on.
test: install-test-tools ## Run all tests, with real clients and Prometheus' own programs.
	cargo test --workspace -- --include-ignored
	cargo test -p tallyd-client --no-default-features

bench: ## Measure; takes minutes. `cargo bench --bench NAME` measures one stage.
	cargo bench --workspace

# Optimized as a release is, so it is built for a minute, and then counts for half a minute.
guard: ## Count instructions and atomic operations; too many are an error. Needs valgrind.
	cargo bench --bench instructions

# cargo-fuzz is there after `cargo install cargo-fuzz`. Its instrumentation is said to be unstable, and works with a stable
# compiler that is told to allow it.
fuzz: export RUSTC_BOOTSTRAP = 1
fuzz: ## Fuzz each target for SECONDS=60, from the conformance cases on.
	cd fuzz && cargo run --quiet --bin seed
	for target in datagram stream; do cargo fuzz run $$target -- -max_total_time=$(or $(SECONDS),60) -max_len=1024 || exit 1; done

demo: ## Run an example application with tallyd and a real Prometheus, and ask for its percentiles.
	examples/demo.sh

# Warnings stay warnings while one works, and are errors here.
lint: ## Check formatting, lints and documentation.
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo check --manifest-path fuzz/Cargo.toml --target-dir target --bins
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps

install-test-tools: ## Install what `make test` and `make guard` need: Debian, PyPI and npm packages. Starts no service.
	bash tests/install.sh
