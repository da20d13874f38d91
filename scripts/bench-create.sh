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
# What the proxies count themselves: how long each frame took from the writer's fsync until its links were visible.
mapfile -t health < <(ready_list proxy_health)
lag_counts() {
  local address
  for address in "${health[@]}"; do
    curl -sS --fail --max-time 10 "$address/metrics" | grep '^signpost_proxy_replication_lag_seconds_bucket'
  done
}
# From two such counts, of before and after: between which bounds the p50 and p99 of what came in between lie.
lag_between() { # BEFORE AFTER
  awk -F '[" ]' '
    FNR == NR { before[$2] += $4; next }
    { count[$2] += $4 }
    !($2 in known) { known[$2]; order[++bounds] = $2 }
    END {
      total = count["+Inf"] - before["+Inf"]
      printf "fsync on the writer to visible on a proxy: %d frames", total
      for (percent = 50; percent <= 99; percent += 49) {
        for (i = 1; i < bounds && (count[order[i]] - before[order[i]]) * 100 < total * percent; i++);
        printf "  p%d <= %s s", percent, order[i]
      }
      printf "\n"
    }' "$1" "$2"
}
at_500() { # NAME, more arguments
  local name=$1
  shift
  lag_counts >"$BENCH_DIR/before"
  measure "$name" "${create[@]}" --rate 500 "$@" "${timed[@]}" --json "$RESULTS/$name.json"
  lag_counts >"$BENCH_DIR/after"
  lag_between "$BENCH_DIR/before" "$BENCH_DIR/after" | tee -a "$RESULTS/$name.txt"
}

at_500 at-500-per-second
at_500 at-500-per-second-async --respond-async
measure highest-rate-64-connections "${create[@]}" --concurrency 64 "${timed[@]}" --json "$RESULTS/highest-rate-64-connections.json"
measure batches-of-1000 "${create[@]}" --batch 1000 --concurrency 4 "${timed[@]}" --json "$RESULTS/batches-of-1000.json"
measure batches-of-1000-async "${create[@]}" --batch 1000 --concurrency 4 --respond-async "${timed[@]}" --json "$RESULTS/batches-of-1000-async.json"
end_bench 'Creating links' bench-create
