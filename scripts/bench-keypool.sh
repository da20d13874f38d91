#!/usr/bin/env bash
# Measures the key pool on one core with 10^8 used codes present: codes generated and stored per second, the latency of
# leases of 1,000, bytes on disk per used code. About 15 minutes, most of it making the 10^8. USED=1000000 for a quick look.
set -euo pipefail
. "$(dirname "$0")/env.sh"
. scripts/fleet.sh
. scripts/bench.sh

USED=${USED:-100000000}
CODES=${CODES:-10000000}
# 16 bytes a code, and as much again while RocksDB compacts; the rest is its log.
FREE_MIB=$((USED * 40 / 1048576 + 1024))

begin_bench keypool
free=$(free_mib "$BENCH_DIR")
[ "$free" -ge "$FREE_MIB" ] || fail "only $free MiB are free for $BENCH_DIR, and $USED used codes want $FREE_MIB." \
  'Free some space, or measure with fewer: USED=10000000 make bench-keypool'

measure with-used-codes taskset --cpu-list 0 bin/signpost-keypool bench --dir "$BENCH_DIR/keypool" \
  --used "$USED" --codes "$CODES" --lease-codes 1000 --json "$RESULTS/with-used-codes.json"
end_bench "The key pool with $USED used codes, on one core" bench-keypool
