#!/usr/bin/env bash
# Ten thousand clients that take their time (slow headers, slow bodies, slow reading) against one proxy: whether the deadline for
# a head holds to the second, and what other visitors notice. About 4 minutes; SLOW=2000 for fewer clients.
set -euo pipefail
. "$(dirname "$0")/env.sh"
. scripts/fleet.sh
. scripts/bench.sh

SLOW=${SLOW:-10000}
LINKS=${LINKS:-100000}
RATE=${RATE:-1000}
SECONDS_EACH=${SECONDS_EACH:-30}
# Without the deadline for heads of 10 s, which is the default, this script would measure something else.
HEAD_S=10

scripts/deps.sh slow
# The proxy, the generator and the database need descriptors of their own.
open_files=$(ulimit -Hn)
[ "$open_files" = unlimited ] || [ "$open_files" -ge $((SLOW + 4096)) ] ||
  fail "$SLOW slow clients need $((SLOW + 4096)) open files, and the limit is $open_files." \
    "Raise it (ulimit -Hn), or ask for fewer: SLOW=$((open_files - 4096))"
ulimit -n "$open_files"

begin_bench slow
start_fleet --dir "$BENCH_DIR/fleet" --proxies 1 --links "$LINKS" || fail 'the fleet did not start; the reason is above.'
proxy=$(ready_list proxies)
link="$proxy/$(head -n 1 "$BENCH_DIR/fleet/keys.txt")"

others() { # NAME
  measure "$1" bin/signpost-loadtest redirect --keys "$BENCH_DIR/fleet/keys.txt" --target "$proxy" \
    --rate "$RATE" --duration "$SECONDS_EACH" --warm-up 2 --json "$RESULTS/$1.json"
}

# Others, while so many slow clients are connected: NAME, then what they do.
others_beside() {
  local name=$1 attacker
  shift
  slowhttptest -c "$SLOW" -r "$((SLOW / 4))" -l $((SECONDS_EACH + 10)) -u "$link" -v 1 "$@" >"$RESULTS/$name-slowhttptest.txt" 2>&1 &
  attacker=$!
  # Until most of them are there.
  sleep 5
  others "$name"
  kill "$attacker" 2>/dev/null || true
  wait "$attacker" 2>/dev/null || true
}

others quiet
others_beside slow-headers -H -i 3 -x 24
measure deadline python3 scripts/slow-heads.py "$proxy" "$HEAD_S"
others_beside slow-bodies -B -i 3 -s 60000 -x 24
others_beside slow-reading -X -w 1 -y 64 -n 5 -z 5 -k 10
end_bench "Others beside $SLOW slow clients" slow
