#!/usr/bin/env bash
# Has 200 clients follow links that end with 1 to 10,000 clicks on 4 proxies: untouched, through kills of proxies and of the writer, with memories
# of proxies lost, with limits lowered, standbys promoted and the writer restored from a backup meanwhile. SEED=N repeats a run. Exit code 1 if
# one click too many gets through, or too few.
# About three minutes.
set -euo pipefail
. "$(dirname "$0")/env.sh"
. scripts/fleet.sh
. scripts/bench.sh

begin_bench max-clicks
follow=(bin/signpost-loadtest max-clicks --bin-dir bin --proxies 4 --clients 200 ${SEED:+--seed "$SEED"})

measure whole "${follow[@]}" --dir "$BENCH_DIR/whole" --json "$RESULTS/whole.json"
measure kills "${follow[@]}" --dir "$BENCH_DIR/kills" --limits 1000,10000,20000 --rest 100 --kills 10 --kill-writer --json "$RESULTS/kills.json"
measure lost "${follow[@]}" --dir "$BENCH_DIR/lost" --limits 100,1000,20000 --rest 100 --kills 10 --lose-memory --json "$RESULTS/lost.json"
measure lowered "${follow[@]}" --dir "$BENCH_DIR/lowered" --limits 2,10,100,1000,10000 --lower --json "$RESULTS/lowered.json"
measure promoted "${follow[@]}" --dir "$BENCH_DIR/promoted" --limits 1000,10000,20000 --rest 100 --promotions 2 --json "$RESULTS/promoted.json"
measure restored "${follow[@]}" --dir "$BENCH_DIR/restored" --limits 1000,10000,20000 --rest 100 --restore --json "$RESULTS/restored.json"
end_bench 'Links that end with a number of clicks' max-clicks
