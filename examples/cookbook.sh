#!/usr/bin/env bash
# Runs the cookbook's recipes in Python and Node.js with the programs of this checkout. `just cookbook`
# builds those, and installs what the recipe in Node.js needs. For Python: examples/requirements.txt.
set -euo pipefail
target=$(realpath "${CARGO_TARGET_DIR:-$(dirname "${BASH_SOURCE[0]}")/../target}")/debug
export POD_IDENTITY_AGENT=$target/pod-identity-agent POD_IDENTITY_TESTKIT=$target/pod-identity-testkit
cd "$(dirname "${BASH_SOURCE[0]}")/cookbook"
python3 -m pytest -q -p no:cacheprovider
node --test
