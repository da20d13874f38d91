#!/usr/bin/env bash
# Measures an import of a million made-up links, with titles, tags, dates and codes: with a proxy on the same cores, which applies all of it
# meanwhile, and with one that stands still, as if it were on another machine. About 3 minutes (LINKS=1000000 ROUNDS=3).
set -euo pipefail
. "$(dirname "$0")/env.sh"
. scripts/fleet.sh
. scripts/bench.sh

LINKS=${LINKS:-1000000}
ROUNDS=${ROUNDS:-3}

begin_bench import
import() { # NAME
  measure "$1" bin/signpost-loadtest import --links "$LINKS" --admin "$(ready_text admin)" \
    --token-file "$BENCH_DIR/$1/token" --json "$RESULTS/$1.json"
}

for round in $(seq "$ROUNDS"); do
  for proxy in applies stands-still; do
    name=import-$round-proxy-$proxy
    start_fleet --dir "$BENCH_DIR/$name" --proxies 1 || fail 'the fleet did not start; the reason is above.'
    [ "$proxy" = applies ] || pkill -STOP -f "bin/signpost-proxy --config $BENCH_DIR/$name/" || fail 'there is no proxy to stop.'
    import "$name"
    pkill -CONT -f "bin/signpost-proxy --config $BENCH_DIR/$name/" || true
    stop_fleet
    rm -rf "${BENCH_DIR:?}/$name"
  done
done
end_bench "Import of $LINKS links" bench-import
