# `make` alone says what there is. Everything works without make, too: these are the commands to type.

.DEFAULT_GOAL := help
.PHONY: help test bench lint install-test-tools

help: ## Say what there is.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 26

# Tests of real clients and of Prometheus' programs are ignored by a plain `cargo test`, which so needs nothing but
# Rust; here they run, and fail where a program is missing. Those in the documentation run along.
test: install-test-tools ## Run all tests, with real clients and Prometheus' own programs.
	cargo test --workspace -- --include-ignored

bench: ## Measure; takes minutes. `cargo bench --bench NAME` measures one stage.
	cargo bench --workspace

# Warnings stay warnings while one works, and are errors here.
lint: ## Check formatting, lints and documentation.
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps

install-test-tools: ## Install what `make test` needs: Debian, PyPI and npm packages. Starts no service.
	bash tests/install.sh
