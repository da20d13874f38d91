#!/usr/bin/env bash
# Measures coming back with ten million links (LINKS=10000000): a proxy whose disk is empty, one that starts with its page cache dropped, a backup,
# and a restore of it with a tenth as many records that came later. About 20 minutes.
set -euo pipefail
. "$(dirname "$0")/env.sh"
. scripts/fleet.sh
. scripts/bench.sh

LINKS=${LINKS:-10000000}
LATER=$((LINKS / 10))
# How long records may take to be archived: a turn of the archive, and as long as it takes to write them.
ARCHIVED_WITHIN_S=300

begin_bench recovery
place=$BENCH_DIR/backups
config=$BENCH_DIR/fleet/admin/config.toml
data=$BENCH_DIR/fleet/admin/data
start_fleet --dir "$BENCH_DIR/fleet" --proxies 2 --set "admin.backup.url=\"$place\"" --set admin.backup.every_s=86400 ||
  fail 'the fleet did not start; the reason is above.'
admin=$(ready_text admin)
mapfile -t proxies < <(ready_list proxies)
mib_of() { du -sm "$1" | cut -f 1; }

# A command, and how long it took.
clocked() {
  local begun ended
  begun=$(date +%s%N)
  "$@"
  ended=$(date +%s%N)
  printf 'took %d.%03d s\n' $(((ended - begun) / 1000000000)) $(((ended - begun) / 1000000 % 1000))
}
import=(bin/signpost-loadtest import --admin "$admin" --token-file "$BENCH_DIR/fleet/token")
# The number of the last record in the archive.
archived() { bin/signpost-admin backup status --config "$config" | sed -n '/"archived"/,/}/ s/.*"seq": \([0-9]*\).*/\1/p'; }
head -n 1 data/homepages-500.txt >"$BENCH_DIR/one.txt"
# Until all proxies have followed: a link is asked for on each right after it was made.
in_step() {
  until bin/signpost-loadtest create --urls "$BENCH_DIR/one.txt" --admin "$admin" --token-file "$BENCH_DIR/fleet/token" --concurrency 1 \
    --follow --proxies "${proxies[@]}" --json "$RESULTS/in-step.json" >/dev/null 2>&1; do sleep 0.1; done
}

measure import "${import[@]}" --links "$LINKS" --json "$RESULTS/import.json"
measure backup clocked bin/signpost-admin backup now --config "$config"
measure import-later "${import[@]}" --first "$LINKS" --links "$LATER" --json "$RESULTS/import-later.json"

command_fleet 'stop proxy-0'
mib_of "$BENCH_DIR/fleet/proxy-0/data" | sed 's/$/ MiB on the disk of a proxy/' >"$RESULTS/disk.txt"
rm -rf "$BENCH_DIR/fleet/proxy-0/data"
# Ready: it has heard from the writer, and has what that one has.
measure proxy-from-nothing clocked command_fleet 'start proxy-0'
command_fleet 'stop proxy-1'
sync && echo 3 >/proc/sys/vm/drop_caches || fail 'the page cache cannot be dropped.' 'Run this as root.'
measure proxy-from-its-disk clocked command_fleet 'start proxy-1'

say "Waiting for the archive of records."
for ((waited = 0; $(archived) < LINKS + LATER; waited++)); do
  [ "$waited" -lt "$ARCHIVED_WITHIN_S" ] || fail "record $((LINKS + LATER)) is not archived after $ARCHIVED_WITHIN_S s: $(archived)."
  sleep 1
done
mib_of "$place" | sed 's/$/ MiB in the place of backups/' >>"$RESULTS/disk.txt"
command_fleet 'stop admin'
mkdir "$BENCH_DIR/away"
mv "$data/log" "$data/clicks" "$BENCH_DIR/away/"
measure restore clocked bin/signpost-admin restore --config "$config"
measure restored-start clocked command_fleet 'start admin'
measure in-step clocked in_step
mib_of "$data" | sed 's/$/ MiB on the disk of the writer/' >>"$RESULTS/disk.txt"
BENCH_COMMANDS=("${BENCH_COMMANDS[@]#clocked }")
end_bench "Coming back with $LINKS links" bench-recovery
