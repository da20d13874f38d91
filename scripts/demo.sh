#!/usr/bin/env bash
# Runs a key pool, the admin API and two proxies on loopback until Ctrl-C, with their data in .demo; the first start
# fills them with real links. Wants the binaries in ./bin: `make demo` builds them first.
# Settings from the environment: DEMO_DIR, ADMIN_PORT, PROXY_PORT, KEYPOOL_PORT (each the first of a few).
set -euo pipefail
. "$(dirname "$0")/env.sh"
. scripts/fleet.sh

DIR=${DEMO_DIR:-.demo}
ADMIN_PORT=${ADMIN_PORT:-7300}
PROXY_PORT=${PROXY_PORT:-8080}
KEYPOOL_PORT=${KEYPOOL_PORT:-7400}
PROXIES=2

# The links and their journal take a tenth of this; RocksDB allocates ahead.
FREE_MIB_MIN=1024
# Links per request and requests at a time of the import.
IMPORT_BATCH=1000
IMPORT_CONCURRENCY=4

main() {
  trap stop_fleet EXIT
  trap 'say; say "Stopping."; exit 0' INT TERM HUP
  check_disk
  check_ports
  say "Starting a key pool, the admin API and $PROXIES proxies in $DIR."
  start_fleet --dir "$DIR" --proxies "$PROXIES" \
    --admin-port "$ADMIN_PORT" --proxy-port "$PROXY_PORT" --keypool-port "$KEYPOOL_PORT" ||
    fail 'the demo did not start; the reason is above.' "Each part's log is in $DIR/logs."
  [ -e "$DIR/imported.tsv" ] || import
  show
  wait "$FLEET_PID" || true
  FLEET_PID=
  fail 'the fleet ended by itself.' "Each part's log is in $DIR/logs."
}

check_disk() {
  mkdir -p "$DIR" || fail "cannot make the folder $DIR." 'Choose another: make demo DEMO_DIR=/path'
  local locked
  locked=$(find "$DIR" ! -writable -print -quit)
  [ -z "$locked" ] || fail "$locked cannot be written by $(id -un); did another user run the demo?" \
    "Give it to yourself (chown -R $(id -un) $DIR), remove $DIR, or choose another: make demo DEMO_DIR=/path"
  local free
  free=$(free_mib "$DIR")
  [ "$free" -ge "$FREE_MIB_MIN" ] || fail "only $free MiB are free for $DIR, and the demo wants $FREE_MIB_MIN." \
    'Free some space, or choose another disk: make demo DEMO_DIR=/path'
}

# The fleet notices a busy port too; here is said what to do about it, for all of them at once.
check_ports() {
  local proxy port name problems=()
  local wanted=("$ADMIN_PORT ADMIN_PORT" "$((ADMIN_PORT + 1)) ADMIN_PORT" "$((ADMIN_PORT + 2)) ADMIN_PORT"
    "$KEYPOOL_PORT KEYPOOL_PORT" "$((KEYPOOL_PORT + 1)) KEYPOOL_PORT")
  for ((proxy = 0; proxy < PROXIES; proxy++)); do
    port=$((PROXY_PORT + 10 * proxy))
    wanted+=("$port PROXY_PORT" "$((port + 1)) PROXY_PORT")
  done
  local privileged=1024
  read -r privileged </proc/sys/net/ipv4/ip_unprivileged_port_start || true
  for port in "${wanted[@]}"; do
    read -r port name <<<"$port"
    if (: >"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      problems+=("port $port is in use$(owner_of "$port"). Stop that, or choose another: make demo $name=PORT")
    elif [ "$port" -lt "$privileged" ] && [ "$(id -u)" -ne 0 ]; then
      problems+=("port $port is for root alone. Choose one above $((privileged - 1)): make demo $name=PORT")
    fi
  done
  [ ${#problems[@]} -eq 0 ] || fail "${problems[@]}"
}

# " by NAME (process PID)" if the system tells; root sees everybody's, others their own.
owner_of() {
  command -v ss >/dev/null 2>&1 || return 0
  ss --no-header --listening --tcp --numeric --processes "sport = :$1" 2>/dev/null |
    sed -n 's/.*users:(("\([^"]*\)",pid=\([0-9]*\).*/ by \1 (process \2)/p' | head -n 1
}

# An import that was cut short is done again from its start, and the links it had made stay.
import() {
  local urls=$DIR/homepages.txt
  say "First start: importing the home pages of Debian's packages as links, one for each line."
  if ! scripts/debian-homepages.sh "$urls"; then
    say 'Taking the 500 in data/homepages-500.txt instead.'
    cp data/homepages-500.txt "$urls"
  fi
  bin/signpost-loadtest create --urls "$urls" --admin "$(ready_text admin)" --token-file "$DIR/token" \
    --batch "$IMPORT_BATCH" --concurrency "$IMPORT_CONCURRENCY" \
    --out "$DIR/imported.tsv.new" --json "$DIR/import.json" >&2 ||
    fail 'the import failed; the reason is above.' "Each part's log is in $DIR/logs. The next start tries again."
  mv "$DIR/imported.tsv.new" "$DIR/imported.tsv"
}

show() {
  local admin token code proxies
  admin=$(ready_text admin)
  token=$(ready_text token)
  mapfile -t proxies < <(ready_list proxies)
  read -r code _ <"$DIR/imported.tsv"
  cat <<END

Signpost is running, with $(wc -l <"$DIR/imported.tsv") real links and what you added to them.

  admin API      $admin
  proxies        ${proxies[*]}
  their health   $(ready_list proxy_health | tr '\n' ' ')
  key pool       $(ready_list keypools)
  token          $token
  data and logs  $DIR, $DIR/logs

Create a link:
  curl -sS -w '\n' $admin/v1/links -H 'Authorization: Bearer $token' -H 'Content-Type: application/json' -d '{"long_url":"https://doc.rust-lang.org/book/"}'

Follow a link, here one of the imported, on the second proxy:
  curl -sSi ${proxies[1]}/$code

See how far each proxy has followed:
  curl -sS -w '\n' $admin/v1/replication -H 'Authorization: Bearer $token'

Ctrl-C stops everything; the next start has the same links.
END
}

main
