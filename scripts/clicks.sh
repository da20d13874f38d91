#!/usr/bin/env bash
# Sends a known number of redirects through kills of proxies, cut and slow connections, batches that come twice, late or from an
# old stream, and an outage of the writer, and compares with what is counted. SEED=N repeats a run, SECONDS_EACH=N makes it longer. Exit code 1 if a click is lost or
# counted twice. About 5 minutes.
set -euo pipefail
. "$(dirname "$0")/env.sh"
. scripts/fleet.sh
. scripts/bench.sh

SECONDS_EACH=${SECONDS_EACH:-180}

begin_bench clicks
clicks=(bin/signpost-loadtest clicks --bin-dir bin --proxies 3 --links 200 ${SEED:+--seed "$SEED"})

measure whole "${clicks[@]}" --dir "$BENCH_DIR/whole" --duration 30 --rate 2000 --json "$RESULTS/whole.json"
measure faults "${clicks[@]}" --dir "$BENCH_DIR/faults" --duration "$SECONDS_EACH" --rate 2000 --kills 20 --cuts 40 --delay 100 \
  --admin-outage 60s --json "$RESULTS/faults.json"
measure relay "${clicks[@]}" --dir "$BENCH_DIR/relay" --duration 60 --rate 2000 --repeats 20 --late 10 --lost-answers 10 \
  --replays 10 --json "$RESULTS/relay.json"
end_bench 'Clicks counted through faults' clicks
