#!/usr/bin/env bash
# Checks what is in systemd/: the units are valid (systemd-analyze verify says nothing), each is exposed no more than
# EXPOSURE_MAX (systemd-analyze security), and the users and folders they name are made by the fragments beside them.
# Prints a line a unit; ends with 1 and says everything that is wrong. Changes nothing on the machine, needs no root.
set -euo pipefail
. "$(dirname "$0")/env.sh"

EXPOSURE_MAX=2.0
UNITS=(signpost-admin signpost-keypool signpost-proxy)

command -v systemd-analyze >/dev/null 2>&1 ||
  fail 'systemd-analyze is not installed, so the units cannot be checked.' 'Install it with: make deps'

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wrong=()

# verify wants the programs to be there: copies of the units point at stand-ins. What a unit may say about itself is
# unchanged by that.
mkdir "$work/bin" "$work/units"
for unit in "${UNITS[@]}"; do
  printf '#!/bin/sh\n' >"$work/bin/$unit"
  chmod +x "$work/bin/$unit"
  grep -q "^ExecStart=/usr/local/bin/$unit " "systemd/$unit.service" || wrong+=("$unit: ExecStart is not /usr/local/bin/$unit")
  sed "s|=/usr/local/bin/|=$work/bin/|" "systemd/$unit.service" >"$work/units/$unit.service"
done

for unit in "${UNITS[@]}"; do
  # Verified one at a time, from a folder that has all of them, since they name each other.
  said=$(SYSTEMD_UNIT_PATH="$work/units:" systemd-analyze verify --man=no "$work/units/$unit.service" 2>&1) ||
    wrong+=("$unit: systemd-analyze verify failed")
  # Complaints about units of this machine's own are not ours.
  said=$(grep -F "$unit" <<<"$said" || true)
  [ -z "$said" ] || wrong+=("$unit: $said")

  exposure=$(systemd-analyze security --offline=yes --no-pager "systemd/$unit.service" |
    sed -n 's/.*Overall exposure level for [^:]*: \([0-9][0-9.]*\) .*/\1/p')
  if [ -z "$exposure" ]; then
    wrong+=("$unit: systemd-analyze security gave no exposure level")
  elif awk -v is="$exposure" -v max="$EXPOSURE_MAX" 'BEGIN { exit !(is > max) }'; then
    wrong+=("$unit: exposure $exposure is above $EXPOSURE_MAX")
  fi
  printf '%s exposure %s\n' "$unit" "${exposure:-unknown}"

  grep -q "^User=$unit\$" "systemd/$unit.service" || wrong+=("$unit: does not run as user $unit")
  grep -q "^u $unit " systemd/sysusers.conf || wrong+=("$unit: systemd/sysusers.conf makes no user $unit")
  grep -q " root $unit " systemd/tmpfiles.conf || wrong+=("$unit: systemd/tmpfiles.conf makes no folder for $unit")
done

# The fragments are tried on an empty root; cleaning an empty folder only reads the lines.
mkdir -p "$work/root/etc"
said=$(systemd-sysusers --root="$work/root" "$PWD/systemd/sysusers.conf" 2>&1 >/dev/null) ||
  wrong+=("systemd/sysusers.conf: $said")
for unit in "${UNITS[@]}"; do
  grep -q "^$unit:" "$work/root/etc/passwd" 2>/dev/null || wrong+=("systemd/sysusers.conf: made no user $unit")
done
said=$(systemd-tmpfiles --root="$work/root" --clean "$PWD/systemd/tmpfiles.conf" 2>&1) ||
  wrong+=("systemd/tmpfiles.conf: $said")

[ ${#wrong[@]} -eq 0 ] || fail "${wrong[@]}"
