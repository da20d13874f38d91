#!/usr/bin/env bash
# Ten thousand clients that take their time (slow headers, slow bodies, slow reading) against one proxy: whether the deadline for
# a head holds to the second, and what other visitors notice. About 4 minutes; SLOW=2000 for fewer clients.
set -euo pipefail
. "$(dirname "$0")/env.sh"
. scripts/fleet.sh
. scripts/bench.sh

SLOW=${SLOW:-10000}
# Each crowd is thrown out at the deadline and comes anew; two that take turns make that many most of the time.
CROWD=$((SLOW * 3 / 4))
LINKS=${LINKS:-100000}
RATE=${RATE:-1000}
SECONDS_EACH=${SECONDS_EACH:-30}
# Without the deadline for heads of 10 s, which is the default, this script would measure something else.
HEAD_S=10

scripts/deps.sh slow
# The proxy, the generator and the database need descriptors of their own.
open_files=$(ulimit -Hn)
[ "$open_files" = unlimited ] || [ "$open_files" -ge $((2 * CROWD + 4096)) ] ||
  fail "$SLOW slow clients need $((2 * CROWD + 4096)) open files, and the limit is $open_files." \
    "Raise it (ulimit -Hn), or ask for fewer: SLOW=$(((open_files - 4096) * 2 / 3))"
ulimit -n "$open_files"

begin_bench slow
start_fleet --dir "$BENCH_DIR/fleet" --proxies 1 --links "$LINKS" || fail 'the fleet did not start; the reason is above.'
proxy=$(ready_list proxies)
health=$(ready_list proxy_health)
link="$proxy/$(head -n 1 "$BENCH_DIR/fleet/keys.txt")"

others() { # NAME
  measure "$1" bin/signpost-loadtest redirect --keys "$BENCH_DIR/fleet/keys.txt" --target "$proxy" \
    --rate "$RATE" --watch-stalls --duration "$SECONDS_EACH" --warm-up 2 --json "$RESULTS/$1.json"
}

# A crowd of slow clients until the file "enough" is there: what they do. They have the lowest priority, since they would have
# machines of their own.
slow_clients() {
  while [ ! -e "$BENCH_DIR/enough" ]; do
    nice -n 19 slowhttptest -c "$CROWD" -r "$((CROWD / 2))" -l $((HEAD_S + 2)) -u "$link" -v 1 "$@" || true
  done
}

# How many connections the proxy has, every second until the file "enough" is there.
connections() {
  while [ ! -e "$BENCH_DIR/enough" ]; do
    curl --silent --fail --max-time 2 "$health/metrics" | sed -n 's/^signpost_proxy_connections_now[^ ]* //p'
    sleep 1
  done
}

# Others, while so many slow clients are connected: NAME, then what they do.
others_beside() {
  local name=$1 beside=()
  shift
  rm -f "$BENCH_DIR/enough"
  slow_clients "$@" >"$RESULTS/$name-slowhttptest.txt" 2>&1 &
  beside+=($!)
  sleep $((HEAD_S / 2))
  slow_clients "$@" >/dev/null 2>&1 &
  beside+=($!)
  # Until most of them are there.
  sleep $((HEAD_S / 2))
  connections >"$BENCH_DIR/connections" &
  beside+=($!)
  others "$name"
  touch "$BENCH_DIR/enough"
  wait "${beside[@]}" || true
  sort -n "$BENCH_DIR/connections" | awk '{ n[NR] = $1 }
    END { printf "  slow       %d to %d connections at a time, half of the time %d or more\n", n[1], n[NR], n[int((NR + 1) / 2)] }' |
    tee -a "$RESULTS/$name.txt"
}

others quiet
others_beside slow-headers -H -i 3 -x 24
measure deadline python3 scripts/slow-heads.py "$proxy" "$HEAD_S"
others_beside slow-bodies -B -i 3 -s 60000 -x 24
others_beside slow-reading -X -w 1 -y 64 -n 5 -z 5 -k 10
end_bench "Others beside $SLOW slow clients" slow
