#!/usr/bin/env bash
# Tries arbitrary bytes on everything that reads bytes, MINUTES in all, shared out among the targets (or TARGET alone), two
# processes at a time. Starts from fuzz/corpus, keeps what it discovers outside of the checkout. Exit code 1 on a finding;
# the input is then in fuzz/artifacts, and belongs into fuzz/corpus/<target> once it is mended, where `make test` tries it.
#
# Stable Rust and no sanitizer: what is tried is safe Rust, for which coverage and overflow checks are what finds things.
set -euo pipefail
. "$(dirname "$0")/env.sh"

MINUTES=${MINUTES:-10}
work="$CARGO_TARGET_DIR-fuzz"

scripts/deps.sh
if ! cargo fuzz --version >/dev/null 2>&1; then
  say 'Installing cargo-fuzz'
  cargo install --locked cargo-fuzz
fi

cd fuzz
export CARGO_TARGET_DIR=$work
# RocksDB is compiled as for everything else, so ccache has it; the rest takes some minutes the first time.
cargo fuzz build --sanitizer none --target-dir "$work"

targets=${TARGET:-$(cargo fuzz list)}
count=$(wc -w <<<"$targets")
# Two at a time: each has twice its share of the time.
seconds=$((MINUTES * 60 * 2 / (count > 1 ? count : 2)))

status=0
run() { # TARGET
  local found="$work/corpus/$1" log="$work/$1.log"
  mkdir -p "$found" "artifacts/$1"
  if cargo fuzz run --sanitizer none --target-dir "$work" "$1" "$found" "corpus/$1" -- \
    -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 >"$log" 2>&1; then
    printf '%-14s %12s executions, %6s features covered, no finding\n' "$1" \
      "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" \
      "$(grep -o 'ft: [0-9]*' "$log" | tail -n 1 | cut -c5-)"
  else
    printf '%-14s FINDING, or it did not run; the end of %s:\n' "$1" "$log"
    tail -n 30 "$log"
    return 1
  fi
}

say "fuzz: ${seconds} s for each of $count targets"
# shellcheck disable=SC2086 # one word a target
set -- $targets
while [ $# -gt 0 ]; do
  run "$1" &
  first=$!
  second=
  if [ $# -gt 1 ]; then
    run "$2" &
    second=$!
    shift
  fi
  shift
  wait "$first" || status=1
  [ -z "$second" ] || wait "$second" || status=1
done
exit "$status"
