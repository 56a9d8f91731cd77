#!/usr/bin/env bash
# Measures the performance goals, see docs/benchmarks.md. Arguments go to the program: -run REGEXP, -n N, -strict.
set -euo pipefail
cd "$(dirname "$0")/.."
CGO_ENABLED=0 go build -trimpath -o bin/bench ./test/bench
exec bin/bench "$@"
