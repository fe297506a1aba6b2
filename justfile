# Needs just, cargo-deny and cargo-hack; `.ci/run` installs the versions that the gate is known to pass with.

published := "--package pod-identity-core --package pod-identity-provider --package pod-identity-agent --package pod-identity-testkit"

# What there is to run
_default:
    @just --list --unsorted

# The whole static gate
check: fmt lint image doc features deny no-abort

# Formatting
fmt:
    cargo fmt --all --check

# Clippy, where a warning is an error
lint:
    cargo clippy --workspace --all-targets --all-features -- -D warnings

# What goes into an image: the agent without `dev`, and without the testkit
image:
    cargo check --package pod-identity-agent --no-default-features
    ! cargo tree --package pod-identity-agent --no-default-features --edges normal | grep pod-identity-testkit

# Documentation, links included
doc:
    RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --all-features

# Features only add: each pair of them compiles
features:
    cargo hack {{published}} --feature-powerset --depth 2 check

# Licences, duplicate versions, where dependencies come from
deny:
    cargo deny check bans licenses sources

# No profile aborts on panic: it would take a node's credentials with one task
no-abort:
    ! git grep --untracked -nE '^[^#]*panic *= *["'\'']?abort' -- '*.toml'

# Every test, as the README says, and those of the optional features
test:
    cargo test --workspace
    cargo test --workspace --all-features

# The published vectors, in the folder that POD_IDENTITY_VECTORS names
vectors:
    cargo test --package pod-identity-core --all-features --test vectors -- --ignored
    cargo test --package pod-identity-testkit --test vectors -- --ignored

# Every example, offline
examples:
    examples/run-all

# Real AWS clients against the agent; needs a network the first time
conformance *clients:
    conformance/run {{clients}}

# What clients do when the agent fails: writes docs/faults.md, or compares with `--check`
faults *arguments:
    conformance/faults/run {{arguments}}

# `initialize` on a kernel of its own; as root
initialize:
    conformance/initialize

# Figures; they compare only with others from the same machine
bench *arguments:
    cargo build --release --package pod-identity-benches --package pod-identity-agent
    for bench in provider agent; do target/release/$bench {{arguments}}; done
