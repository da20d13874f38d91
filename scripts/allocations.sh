#!/usr/bin/env bash
# Counts what running proxies allocate for a request, by kind of request: hits, unknown codes, links in the database's memory
# and on the disk, with clicks counted and every limit evaluated. What Rust allocates, the proxy's own metric says; what C and C++
# do (RocksDB), a library that is preloaded. Exit code 1 if a hit allocates. REQUESTS=N and LINKS=N set the size. About 3 minutes.
set -euo pipefail
. "$(dirname "$0")/env.sh"
. scripts/fleet.sh
. scripts/bench.sh

REQUESTS=${REQUESTS:-1000000}
LINKS=${LINKS:-1000000}

begin_bench allocations
# In memory, so that counting costs no writing to a disk.
COUNT_MALLOC_DIR=$(mktemp -d /dev/shm/count-malloc-XXXXXX)
export COUNT_MALLOC_DIR
trap 'stop_fleet; rm -rf "$BENCH_DIR" "$COUNT_MALLOC_DIR"' EXIT
cc -O2 -Wall -Wextra -Werror -shared -fPIC -o "$BENCH_DIR/count_malloc.so" loadtest/allocations/count_malloc.c

measure allocations env LD_PRELOAD="$BENCH_DIR/count_malloc.so" bin/signpost-loadtest allocations --dir "$BENCH_DIR/fleet" \
  --bin-dir bin --headers-from loadtest/data/headers --requests "$REQUESTS" --links "$LINKS" --json "$RESULTS/allocations.json"
end_bench 'Allocations per request, counted in running proxies' allocations
