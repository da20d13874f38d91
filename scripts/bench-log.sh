#!/usr/bin/env bash
# Measures the log by itself, without network: changes through the writer, a replica that applies them, bytes on disk per
# link. About a minute with a million links; LINKS=10000000 for ten.
set -euo pipefail
. "$(dirname "$0")/env.sh"
. scripts/fleet.sh
. scripts/bench.sh

LINKS=${LINKS:-1000000}

begin_bench log
cargo build --release --locked --quiet -p linklog --example write_and_apply
measure run "$CARGO_TARGET_DIR/release/examples/write_and_apply" "$BENCH_DIR/log" "$LINKS"
end_bench "The log by itself, with $LINKS links" bench-log
