#!/usr/bin/env bash
# Runs the long forms of the fault harness one after the other, with rising seeds, until HOURS hours (1 if not said) are over and a turn has ended;
# the first one also with HOURS=0. SEED=N is the first seed (1). ROUND_S=N seconds of `fault` in each turn (300, with which a turn takes an hour and
# a half); everything else in a turn is as much in proportion. Takes root: packets are filtered in a network of the fleet's own. Ends at the first
# contradiction with exit code 1 and leaves its folder. The summary goes to bench-results.
set -euo pipefail
. "$(dirname "$0")/env.sh"
. scripts/fleet.sh
. scripts/bench.sh

scripts/deps.sh test
[ "$(id -u)" -eq 0 ] || fail 'packet filters need a network namespace, which only root can make.' 'Run this as root.'

HOURS=${HOURS:-1}
ROUND_S=${ROUND_S:-300}
seed=${SEED:-1}
until=$(($(date +%s) + HOURS * 3600))

of() { echo $((($1 * ROUND_S + 299) / 300)); } # COUNT: how many there are of what there are COUNT in 300 s, at least one

begin_bench soak
harness() { # NAME COMMAND ARGUMENTS…: one run, its folder removed when it was right
  local name=$1
  shift
  measure "$name-$seed" bin/signpost-loadtest "$@" --bin-dir bin --dir "$BENCH_DIR/$name-$seed" --json "$RESULTS/$name-$seed.json"
  rm -rf "${BENCH_DIR:?}/$name-$seed"
}

# Virtual time: seeds cost milliseconds, so there are many of them.
seeds="$((seed * 10000))..$((seed * 10000 + 10000))"
measure simulation bin/signpost-simulation run --seeds "$seeds" --threads 2
measure contests bin/signpost-simulation run --contests --seeds "$seeds" --threads 2
# The sweep has no seed: once is all there is.
harness sweep fault-sweep --jobs 12
while :; do
  harness fault fault --proxies 3 --keypools 2 --seconds "$ROUND_S" --seed "$seed"
  # Each of the 56 named points: killed there with odd seeds, stopped there with even ones.
  harness points fault --proxies 2 --keypools 1 --faults points --seconds "$ROUND_S" --seed "$seed" --first-point "$(((seed - 1) * 56))"
  harness clock fault --proxies 2 --keypools 1 --faults clock --seconds "$((ROUND_S / 2))" --seed "$seed"
  harness filter fault --proxies 3 --keypools 2 --faults filter --seconds "$((ROUND_S / 2))" --seed "$seed"
  harness filter-kill fault --proxies 3 --keypools 2 --faults kill,stop,cut,delay,half-open,filter --seconds "$ROUND_S" --seed "$seed"
  harness losses promotions --times "$(of 30)" --losses killed,stopped,cut-off,silent,unreachable --seed "$seed"
  harness promotions promotions --points --times "$(of 36)" --seed "$seed"
  harness leases leases --codes "$(of 20000000)" --block 100000 --seed "$seed"
  # Clicks, counted and limited.
  clicks=(clicks --proxies 3 --links 200 --rate 1000 --seed "$seed")
  harness clicks "${clicks[@]}" --duration "$(of 120)" --kills "$(of 15)" --cuts "$(of 30)" --delay 100 --admin-outage "$(of 30)s"
  harness late-clicks "${clicks[@]}" --duration "$(of 60)" --repeats "$(of 20)" --late "$(of 10)" --lost-answers "$(of 10)" --replays "$(of 10)"
  limits=(max-clicks --proxies 4 --clients 200 --limits 1000,10000,20000 --rest 100 --seed "$seed")
  harness limits "${limits[@]}" --kills "$(of 10)" --kill-writer
  harness lost-limits "${limits[@]}" --kills "$(of 10)" --lose-memory
  harness promoted-limits "${limits[@]}" --promotions 2
  harness restored-limits "${limits[@]}" --restore
  harness contest contest --claims "$(of 1000000)" --kills "$(of 5)" --seed "$seed"
  harness flips flips --count "$(of 1000)" --seed "$seed"
  harness power power-cuts --count "$(of 200)" --seed "$seed"
  seed=$((seed + 1))
  [ "$(date +%s)" -lt "$until" ] || break
done
end_bench 'The fault harness, for hours' soak
