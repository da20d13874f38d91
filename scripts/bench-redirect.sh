#!/usr/bin/env bash
# Measures redirects from one proxy with a million links, random keys, open loop: the latency at 10,000/s, evenly spaced and
# as visitors come. About 4 minutes.
set -euo pipefail
. "$(dirname "$0")/env.sh"
. scripts/fleet.sh
. scripts/bench.sh

LINKS=${LINKS:-1000000}
SECONDS_EACH=${SECONDS_EACH:-60}

begin_bench redirect
start_fleet --dir "$BENCH_DIR/fleet" --proxies 1 --links "$LINKS" || fail 'the fleet did not start; the reason is above.'
redirect=(bin/signpost-loadtest redirect --keys "$BENCH_DIR/fleet/keys.txt" --target "$(ready_list proxies)"
  --duration "$SECONDS_EACH" --warm-up 5)

measure even-10000-per-second "${redirect[@]}" --rate 10000 --json "$RESULTS/even-10000-per-second.json"
measure poisson-10000-per-second "${redirect[@]}" --rate 10000 --arrivals poisson --json "$RESULTS/poisson-10000-per-second.json"
end_bench "Redirects from one proxy with $LINKS links" bench-redirect
