#!/usr/bin/env bash
# Leases a hundred million codes from key pools that are killed, paused, restored from old copies and split meanwhile, and looks for one that came
# twice. CODES=N for fewer, SEED=N to repeat a run. Exit code 1 if a code came twice. About ten minutes.
set -euo pipefail
. "$(dirname "$0")/env.sh"
. scripts/fleet.sh
. scripts/bench.sh

begin_bench leases
measure leases bin/signpost-loadtest leases --bin-dir bin --dir "$BENCH_DIR/pools" --codes "${CODES:-100000000}" --block 100000 ${SEED:+--seed "$SEED"} --json "$RESULTS/leases.json"
end_bench 'Codes leased through kills, restores and splits' leases
