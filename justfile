# `just` is on PyPI as rust-just; cargo-deny and cargo-hack are on crates.io. `.ci/run` names the versions that
# the gate is known to pass with.

published := "--package pod-identity-cli --package pod-identity-core --package pod-identity-provider --package pod-identity-agent --package pod-identity-testkit"

# Recipes that test select the same packages and features, because cargo builds the dependencies anew for each
# other selection.

# What there is to run
_default:
    @just --list --unsorted

# The whole static gate
check: fmt lint rooms documented-tests links packaged lean doc features deny no-abort

# Formatting
fmt:
    cargo fmt --all --check

# Clippy, where a warning is an error
lint:
    cargo clippy --workspace --all-targets --all-features -- -D warnings

# Who imports whom: no cycles, and folders use only those that ARCHITECTURE.md allows
rooms:
    .ci/rooms --test
    .ci/rooms

# Each test that docs/behaviours.md names exists
documented-tests:
    .ci/documented-tests

# Each link between pages leads to a file and a heading that are there
links:
    .ci/links

# What crates.io and docs.rs get is complete
packaged:
    .ci/packaged

# The agent of images: without `dev`, and without the testkit
lean:
    cargo check --package pod-identity-agent --no-default-features
    ! cargo tree --package pod-identity-agent --no-default-features --edges normal | grep pod-identity-testkit

# Documentation, links included
doc:
    RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --all-features

# Features only add: each pair of them compiles, without a warning
features:
    cargo hack {{published}} --feature-powerset --depth 2 clippy -- -D warnings -A clippy::all

# Licences, duplicate versions, where dependencies come from
deny:
    cargo deny check bans licenses sources

# The licences of all dependencies, and which of them have each
licences:
    cargo deny list

# No profile aborts on panic: it would take a node's credentials with one task
no-abort:
    ! git grep --untracked -nE '^[^#]*panic *= *["'\'']?abort' -- '*.toml'

# Every test, as the README says, and those of the optional features
test:
    cargo test --workspace
    cargo test --workspace --all-features

# Every behaviour on the built program, whose time libfaketime sets (Debian: faketime); some take a minute
rows:
    #!/usr/bin/env bash
    set -euo pipefail
    library=$(echo /usr/lib/*/faketime/libfaketimeMT.so.1)
    [ -e "$library" ] || { echo 'libfaketime is missing: apt-get install faketime' >&2; exit 1; }
    export POD_IDENTITY_LIBFAKETIME=$library
    cargo test --workspace --all-features --test scenes -- budgets contract fetching trouble untrusted verified whole_chain
    cargo test --workspace --all-features --test scenes restart -- --ignored
    cargo test --workspace --all-features --test program outside -- --ignored

# The published vectors, in the folder that POD_IDENTITY_VECTORS names
vectors:
    cargo test --workspace --all-features --test vectors -- --ignored
    cargo test --workspace --all-features --test program vectors -- --ignored

# Every example, offline
examples:
    examples/run-all

# The testkit's program, driven by the AWS CLI, boto3 and pytest: those of examples/requirements.txt, in PATH
testkit-program:
    cargo test --workspace --all-features --test program clients -- --ignored
    pod-identity-testkit/tests/aws-cli.sh
    examples/associations.sh

# What pipelines call of EKS, by boto3 and the AWS SDK for Go, against the testkit's program
eks-sequences:
    pod-identity-testkit/tests/eks-sequences

# The cookbook's recipes in Python and Node.js; those in Rust are tests of the workspace
cookbook:
    npm ci --prefix examples/cookbook --ignore-scripts --no-audit --no-fund --loglevel=error
    examples/cookbook.sh

# The testkit's packages for Python, Node.js, Go and Java, each tested as its users install it
packages:
    pod-identity-testkit/packages/check

# Real AWS clients against the agent; needs a network the first time
conformance *clients:
    conformance/run {{clients}}

# What clients do when the agent fails: writes docs/faults.md, or compares with `--check`
faults *arguments:
    conformance/faults/run {{arguments}}

# The same requests to the official agent, which PEER_AGENT names, and to this one: writes docs/answers.md
answers:
    cargo build --workspace --all-features --bins
    conformance/answers target/debug/pod-identity-agent target/debug/pod-identity-testkit

# `initialize` on a kernel of its own; as root
initialize:
    conformance/initialize

# System calls of the agent and of an application with the provider fail, one in each run; needs strace
system-calls *arguments:
    conformance/system-calls {{arguments}}

# Pages that are made from the source: docs/flags.md, docs/metrics.md, docs/troubleshooting.md
pages:
    cargo test --workspace --all-features --lib write_the_pages -- --ignored

# The image, run as the official DaemonSet runs it; as root
image:
    image/check

# Builds an image twice from copies of the sources, and compares the digests; `agent` or `testkit`
reproducible kind="agent":
    image/reproducible {{kind}}

# The chart, the manifests, the alerts and the pages that quote them; each container is started, as root
deploy:
    POD_IDENTITY_AGENT="$(image/program)" deploy/check

# A Kubernetes cluster of one node with the chart, its pods and upgrades; as root; builds Kubernetes the first time
cluster *cases:
    cluster/run {{cases}}

# A Prometheus scrapes the agent of a cluster for 9 minutes, with an outage: writes docs/soak.svg (Debian: prometheus)
soak-cluster:
    cluster/run install soak

# Instructions and allocations of the hot paths, at most 3 % above benches/instructions/baseline.txt; needs valgrind
instructions *arguments:
    cargo run --quiet --release --package pod-identity-instructions -- {{arguments}}

# Inputs nobody thought of, by libFuzzer, for so many seconds for each target, or for those named; needs a C++ compiler
fuzz seconds='60' *targets:
    fuzz/run {{seconds}} {{targets}}

# Changes of one crate that none of its own tests notices, as docs/mutants.md reads them; needs cargo-mutants
mutants package='pod-identity-core' *arguments:
    cargo mutants --package {{package}} --sharding round-robin {{arguments}}

# The published crates compile with the minimum Rust version that Cargo.toml names, which rustup fetches
msrv:
    CARGO_TARGET_DIR=target/msrv cargo +$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml) check {{published}} --all-features

# Changes of the published interfaces since a revision that need a new version; needs cargo-semver-checks
semver revision:
    cargo semver-checks {{published}} --all-features --baseline-rev {{revision}}

# Thirty days of a pod in virtual time, with outages: what its provider fetched and what its callers saw
soak:
    cargo run --all-features --example soak

# Random schedules of everything that can happen to a provider, of these seeds; 0.16 s of CPU time each
simulate schedules='3000' first='0':
    POD_IDENTITY_SCHEDULES={{schedules}} POD_IDENTITY_SEED={{first}} cargo test --workspace --all-features --test suite simulation -- --nocapture

# Random schedules of an agent and its pods, from connections to EKS Auth, of these seeds; 0.4 s of CPU time each
simulate-agent schedules='3000' first='0':
    POD_IDENTITY_SCHEDULES={{schedules}} POD_IDENTITY_SEED={{first}} cargo test --workspace --all-features --lib simulation -- --nocapture

# Thread interleavings: runs each test of shared state in this many of them, from this seed
interleavings orders='2000' seed='1':
    interleavings/run {{orders}} {{seed}}

# A fleet of 5,000 nodes, or so many of them, in virtual time before one limited EKS Auth: writes docs/fleet.md
fleet nodes='5000':
    POD_IDENTITY_FLEET_NODES={{nodes}} cargo test --config profile.dev.package.pod-identity-agent.opt-level=2 --config profile.dev.package.pod-identity-core.opt-level=2 --workspace --all-features --lib write_the_page_of_the_fleet -- --ignored

# All benches: writes docs/benchmarks.md and its figures; as root also in the limits of a node
bench *names:
    cargo build --release --package pod-identity-benches
    benches/run "$(image/program)" {{names}}
