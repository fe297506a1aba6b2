#!/usr/bin/env bash
# Runs the cookbook's recipes in Python and Node.js with the programs of this checkout. `just cookbook`
# installs what the recipe in Node.js needs. For Python: examples/requirements.txt.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source .ci/programs
cd examples/cookbook
python3 -m pytest -q -p no:cacheprovider
node --test
