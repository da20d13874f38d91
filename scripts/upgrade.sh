#!/usr/bin/env bash
# Upgrades a running fleet part by part, from the version at FROM (a tag or a commit) to the one in ./bin, the writer before the last proxy: that
# one, a version behind, has to go on applying and redirecting. Links are created at every step, and each is asked for on every proxy. FROM is built
# in a target directory of its own, beside the usual one, which is kept. Exit code 1 if a link is missing or wrong, or a proxy falls behind.
set -euo pipefail
. "$(dirname "$0")/env.sh"
. scripts/fleet.sh
. scripts/bench.sh

: "${FROM:?say what to upgrade from: make upgrade FROM=<tag or commit>}"
rev=$(git rev-parse --verify --quiet "$FROM^{commit}") || fail "there is no version $FROM here." 'Name a tag or a commit: git tag, git log'
# Seconds of creating at each step, and how long a fleet may take to be in step again.
CREATE_S=${CREATE_S:-5}
IN_SYNC_WITHIN_S=60

begin_bench upgrade
mkdir "$BENCH_DIR"/{previous,bin,version,reports}
# Touched: cargo tells old files from new ones by their times, and takes those of another version for built.
git archive "$rev" | tar --extract --touch --directory "$BENCH_DIR/previous"
say "Building $FROM ($rev)."
CARGO_TARGET_DIR=$(dirname "$CARGO_TARGET_DIR")/target-previous "$BENCH_DIR/previous/scripts/build.sh"

# Binaries that are those of this version if version/PART is there, PART being the folder of the configuration they are given.
for name in signpost-admin signpost-keypool signpost-proxy; do
  cat >"$BENCH_DIR/bin/$name" <<END
#!/bin/sh
part=
for argument; do case \$argument in *.toml) part=\$(basename "\$(dirname "\$argument")") ;; esac; done
[ -e "$BENCH_DIR/version/\$part" ] && exec "$PWD/bin/$name" "\$@"
exec "$BENCH_DIR/previous/bin/$name" "\$@"
END
  chmod +x "$BENCH_DIR/bin/$name"
done

FLEET_HARNESS=$BENCH_DIR/previous/bin/signpost-loadtest
FLEET_BINARIES=$BENCH_DIR/bin
start_fleet --dir "$BENCH_DIR/fleet" --proxies 2 || fail "the fleet of $FROM did not start; the reason is above."
admin=$(ready_text admin)
mapfile -t proxies < <(ready_list proxies)

step=0
create() {
  step=$((step + 1))
  bin/signpost-loadtest create --urls data/homepages-500.txt --admin "$admin" --token-file "$BENCH_DIR/fleet/token" --concurrency 4 \
    --duration "$CREATE_S" --warm-up 0 --out "$BENCH_DIR/created-$step.tsv" --json "$BENCH_DIR/reports/create.json" >/dev/null
}

# Every link of every step, on every proxy.
all_there() {
  cat "$BENCH_DIR"/created-*.tsv >"$BENCH_DIR/all.tsv"
  bin/signpost-loadtest verify --expect "$BENCH_DIR/all.tsv" --proxies "${proxies[@]}" --json "$BENCH_DIR/reports/verify.json" >/dev/null
  wc -l <"$BENCH_DIR/all.tsv"
}

api() { curl -sS --max-time 10 --header "authorization: Bearer $(cat "$BENCH_DIR/fleet/token")" "$@"; }

in_sync() {
  local until=$((SECONDS + IN_SYNC_WITHIN_S)) status
  while status=$(api --fail "$admin/v1/replication" || true) && [ "$(grep -o '"in_sync"' <<<"$status" | wc -l)" -ne "${#proxies[@]}" ]; do
    [ "$SECONDS" -lt "$until" ] || fail "not every proxy is in step after $IN_SYNC_WITHIN_S s: $status"
    sleep 0.2
  done
}

upgrade() { # PART
  command_fleet "stop $1"
  # Whatever is down, redirects go on, except on a proxy that is.
  case $1 in proxy-*) ;; *) all_there >/dev/null ;; esac
  touch "$BENCH_DIR/version/$1"
  command_fleet "start $1"
  in_sync
  create
  printf '%-10s upgraded: %7s links on each proxy, all right\n' "$1" "$(all_there)"
}

# What the log says of a link that needs the newest level of its format: the status, and with 409 whom it waits for.
needs_newest_level() {
  local body='{"long_url":"https://example.com/","not_before":"2040-01-01T00:00:00Z"}'
  api --write-out '%{http_code}\n' --output "$BENCH_DIR/answer" --header 'content-type: application/json' --data "$body" "$admin/v1/links"
}

upgrade_all() {
  create
  printf '%-10s %s: %7s links on each proxy, all right\n' 'all parts' "at $FROM" "$(all_there)"
  upgrade keypool-0
  upgrade proxy-1
  upgrade admin
  status=$(needs_newest_level)
  printf 'proxy-0 is a version behind; a link that needs the newest format level is answered %s: %s\n' "$status" \
    "$(sed -n 's/.*"detail":"\([^"]*\)".*/\1/p' "$BENCH_DIR/answer")"
  # A cold start of the old version, on the log of the new writer.
  command_fleet 'kill proxy-0 9'
  create
  command_fleet 'start proxy-0'
  in_sync
  printf '%-10s restarted: %6s links on each proxy, all right\n' proxy-0 "$(all_there)"
  upgrade proxy-0
  status=$(needs_newest_level)
  printf 'all upgraded; the same link is answered %s\n' "$status"
  [ "$status" = 201 ] || fail "the format level has not risen: $(cat "$BENCH_DIR/answer")"
}

measure upgrade upgrade_all
end_bench "A rolling upgrade from $rev" "upgrade FROM=$FROM"
