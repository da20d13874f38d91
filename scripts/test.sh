#!/usr/bin/env bash
# Runs every test, with the binaries in ./bin for those that start whole services. Arguments go to the runner, as in
# `-p linklog`. The runner's summary is the last thing printed.
set -euo pipefail
. "$(dirname "$0")/env.sh"

export SIGNPOST_BIN_DIR=$PWD/bin
# A terminal gets colours and a bar; a log gets plain lines.
selection=(--workspace)
[ $# -eq 0 ] || selection=("$@")

if cargo nextest --version >/dev/null 2>&1; then
  # nextest runs no examples in documentation. They come first, so that its summary is what a reader finds at the end.
  if [ $# -eq 0 ] && grep -rqE --include='*.rs' '^ *//[/!] ```(rust|should_panic|no_run)?$' .; then
    cargo test --release --locked --workspace --doc --quiet
  fi
  exec cargo nextest run --release --locked "${selection[@]}"
fi
say 'cargo-nextest is not installed: using cargo test, which runs one test program after the other.'
exec cargo test --release --locked --no-fail-fast "${selection[@]}"
