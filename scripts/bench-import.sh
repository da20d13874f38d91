#!/usr/bin/env bash
# Measures an import of a million made-up links, with titles, tags, dates and codes, with one proxy attached; the search index follows
# meanwhile. About 2 minutes (LINKS=1000000 ROUNDS=3).
set -euo pipefail
. "$(dirname "$0")/env.sh"
. scripts/fleet.sh
. scripts/bench.sh

LINKS=${LINKS:-1000000}
ROUNDS=${ROUNDS:-3}

begin_bench import
for round in $(seq "$ROUNDS"); do
  start_fleet --dir "$BENCH_DIR/fleet-$round" --proxies 1 || fail 'the fleet did not start; the reason is above.'
  measure "import-$round" bin/signpost-loadtest import --links "$LINKS" --admin "$(ready_text admin)" \
    --token-file "$BENCH_DIR/fleet-$round/token" --json "$RESULTS/import-$round.json"
  stop_fleet
  rm -rf "$BENCH_DIR/fleet-$round"
done
end_bench "Import of $LINKS links with one proxy" bench-import
