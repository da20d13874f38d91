#!/usr/bin/env bash
# Measures creating links with two proxies, on real targets: the latency at 500/s, the highest rate 64 connections reach,
# batches, and whether every link can be followed on both proxies at once when its 201 is there. About 5 minutes.
set -euo pipefail
. "$(dirname "$0")/env.sh"
. scripts/fleet.sh
. scripts/bench.sh

# Seconds for each measured part, after WARM_UP.
SECONDS_EACH=${SECONDS_EACH:-60}
WARM_UP=5

begin_bench create
urls=$(real_targets)
start_fleet --dir "$BENCH_DIR/fleet" --proxies 2 || fail 'the fleet did not start; the reason is above.'
admin=$(ready_text admin)
mapfile -t proxies < <(ready_list proxies)
create=(bin/signpost-loadtest create --urls "$urls" --admin "$admin" --token-file "$BENCH_DIR/fleet/token")
timed=(--duration "$SECONDS_EACH" --warm-up "$WARM_UP")

measure follow-every-line "${create[@]}" --concurrency 8 --follow --proxies "${proxies[@]}" --json "$RESULTS/follow-every-line.json"
measure at-500-per-second "${create[@]}" --rate 500 "${timed[@]}" --json "$RESULTS/at-500-per-second.json"
measure at-500-per-second-async "${create[@]}" --rate 500 --respond-async "${timed[@]}" --json "$RESULTS/at-500-per-second-async.json"
# How long each link took from the writer's fsync until it was visible, as the parts saw it.
mapfile -t health < <(ready_list proxy_health)
for index in "${!health[@]}"; do
  curl -sS --fail --max-time 10 "${health[index]}/metrics" >"$RESULTS/metrics-proxy-$index.prom"
done
measure highest-rate-64-connections "${create[@]}" --concurrency 64 "${timed[@]}" --json "$RESULTS/highest-rate-64-connections.json"
measure batches-of-1000 "${create[@]}" --batch 1000 --concurrency 4 "${timed[@]}" --json "$RESULTS/batches-of-1000.json"
measure batches-of-1000-async "${create[@]}" --batch 1000 --concurrency 4 --respond-async "${timed[@]}" --json "$RESULTS/batches-of-1000-async.json"
end_bench 'Creating links' bench-create
