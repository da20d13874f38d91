#!/usr/bin/env bash
# Runs every test, with the binaries in ./bin for those that start whole services. Arguments go to the runner, as in
# `-p linklog`. The runner's summary is the last thing printed.
set -euo pipefail
. "$(dirname "$0")/env.sh"

scripts/deps.sh test
scripts/tools.sh

export SIGNPOST_BIN_DIR=$PWD/bin
selection=(--workspace)
[ $# -eq 0 ] || selection=("$@")

# Examples in documentation come first, since nextest does not run them, and so that a reader finds the summary of the
# tests at the end.
if [ $# -eq 0 ] && grep -rqE --include='*.rs' '^ *//[/!] ```(rust|should_panic|no_run)?$' .; then
  cargo test --release --locked --workspace --doc --quiet
fi

if cargo nextest --version >/dev/null 2>&1; then
  exec cargo nextest run --release --locked "${selection[@]}"
fi
say 'cargo-nextest is not installed: using cargo test, which runs one test program after the other.'
exec cargo test --release --locked --no-fail-fast "${selection[@]}" --lib --bins --tests
