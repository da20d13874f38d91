# A local fleet for as long as a script runs: started by start_fleet, asked with ready_text and ready_list, ended by
# stop_fleet. Sourced after env.sh.
# shellcheck shell=bash

FLEET_PID=
# The end of the fleet's standard input: closing it ends the fleet, also when the script is killed.
FLEET_COMMANDS=
# The line the fleet prints when all of it is ready: one JSON object.
FLEET_READY=

# Starting is a matter of seconds, but a slow disk may have a log to replay, and links to preload take time too.
FLEET_READY_TIMEOUT_S=300

# Starts a fleet with the arguments of `signpost-loadtest fleet` and returns when it is ready, or with 1.
start_fleet() {
  local pipes
  pipes=$(mktemp -d)
  mkfifo "$pipes/commands" "$pipes/ready"
  bin/signpost-loadtest fleet --bin-dir bin "$@" <"$pipes/commands" >"$pipes/ready" &
  FLEET_PID=$!
  exec {FLEET_COMMANDS}>"$pipes/commands"
  IFS= read -r -t "$FLEET_READY_TIMEOUT_S" FLEET_READY <"$pipes/ready" || FLEET_READY=
  rm -r "$pipes"
  [ -n "$FLEET_READY" ]
}

# Ends the fleet and returns when no process of it is left.
stop_fleet() {
  trap '' INT TERM HUP
  [ -z "$FLEET_COMMANDS" ] || exec {FLEET_COMMANDS}>&-
  [ -z "$FLEET_PID" ] || wait "$FLEET_PID" || true
  FLEET_PID=
}

# The value of a key of the ready line: a text, or a list of texts, one a line.
ready_text() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" <<<"$FLEET_READY"; }
ready_list() { sed -n "s/.*\"$1\":\[\(\"[^]]*\)\].*/\1/p" <<<"$FLEET_READY" | tr -d '"' | tr ',' '\n'; }
