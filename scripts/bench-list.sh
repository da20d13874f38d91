#!/usr/bin/env bash
# Measures lists and searches over many links (LINKS=10000000), and creating links at 500/s with and without them. Importing the links takes a few
# minutes, the rest about 5 (SECONDS_EACH=60, RATE=20 lists a second).
set -euo pipefail
. "$(dirname "$0")/env.sh"
. scripts/fleet.sh
. scripts/bench.sh

LINKS=${LINKS:-10000000}
RATE=${RATE:-20}
SECONDS_EACH=${SECONDS_EACH:-60}
WARM_UP=5
DOMAIN=other.example

begin_bench list
urls=$(real_targets)
start_fleet --dir "$BENCH_DIR/fleet" --proxies 1 || fail 'the fleet did not start; the reason is above.'
admin=$(ready_text admin)
proxy=$(ready_list proxies)
token=$BENCH_DIR/fleet/token
keys=$BENCH_DIR/keys.txt

measure import bin/signpost-loadtest import --links "$LINKS" --admin "$admin" --token-file "$token" --domain "$DOMAIN" --keys "$keys" \
  --json "$RESULTS/import.json"
# Clicks, so that there is an order by clicks: on links anywhere.
measure clicks bin/signpost-loadtest redirect --keys "$keys" --target "$proxy" --rate 5000 --duration 60 --json "$RESULTS/clicks.json"

list=(bin/signpost-loadtest list --links "$LINKS" --domain "$DOMAIN" --admin "$admin" --token-file "$token" --wait 1800)
create=(bin/signpost-loadtest create --urls "$urls" --admin "$admin" --token-file "$token" --rate 500 --warm-up "$WARM_UP")

measure list "${list[@]}" --rate "$RATE" --duration "$SECONDS_EACH" --json "$RESULTS/list.json"
for round in 1 2; do
  measure "create-quiet-$round" "${create[@]}" --duration "$SECONDS_EACH" --json "$RESULTS/create-quiet-$round.json"
  "${list[@]}" --rate "$RATE" --duration $((SECONDS_EACH + 2 * WARM_UP)) --json "$RESULTS/list-with-creates-$round.json" \
    >"$RESULTS/list-with-creates-$round.txt" &
  lists=$!
  measure "create-with-lists-$round" "${create[@]}" --duration "$SECONDS_EACH" --json "$RESULTS/create-with-lists-$round.json"
  wait "$lists"
  BENCH_NAMES+=("list-with-creates-$round")
  BENCH_COMMANDS+=("${list[*]} --rate $RATE --duration $((SECONDS_EACH + 2 * WARM_UP)) --json $RESULTS/list-with-creates-$round.json")
  cat "$RESULTS/list-with-creates-$round.txt"
done
du -sm "$BENCH_DIR"/fleet/*/ 2>/dev/null | sort -n | tail -n 5 >"$RESULTS/disk.txt" || true
end_bench "Lists and searches over $LINKS links" bench-list
