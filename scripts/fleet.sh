# A local fleet for as long as a script runs: started by start_fleet, asked with ready_text and ready_list, told what to do
# by command_fleet, ended by stop_fleet. Sourced after env.sh.
# shellcheck shell=bash

FLEET_PID=
# The end of the fleet's standard input: closing it ends the fleet, also when the script is killed.
FLEET_COMMANDS=
# The beginning of its standard output.
FLEET_ANSWERS=
# The line the fleet prints when all of it is ready: one JSON object.
FLEET_READY=

# Starting is a matter of seconds, but a slow disk may have a log to replay, and links to preload take time too.
FLEET_READY_TIMEOUT_S=300

# Whose harness starts the fleet, and whose parts it is made of.
FLEET_HARNESS=bin/signpost-loadtest
FLEET_BINARIES=bin

# Starts a fleet with the arguments of `signpost-loadtest fleet` and returns when it is ready, or with 1.
start_fleet() {
  local pipes
  pipes=$(mktemp -d)
  mkfifo "$pipes/commands" "$pipes/answers"
  "$FLEET_HARNESS" fleet --bin-dir "$FLEET_BINARIES" "$@" <"$pipes/commands" >"$pipes/answers" &
  FLEET_PID=$!
  exec {FLEET_COMMANDS}>"$pipes/commands" {FLEET_ANSWERS}<"$pipes/answers"
  IFS= read -r -t "$FLEET_READY_TIMEOUT_S" FLEET_READY <&"$FLEET_ANSWERS" || FLEET_READY=
  rm -r "$pipes"
  [ -n "$FLEET_READY" ]
}

# Gives the fleet a command (`signpost-loadtest fleet --help`) and returns when it is carried out.
command_fleet() {
  local answer
  echo "$1" >&"$FLEET_COMMANDS"
  IFS= read -r -t "$FLEET_READY_TIMEOUT_S" answer <&"$FLEET_ANSWERS" || fail "no answer to '$1'."
  case $answer in *'"error"'*) fail "'$1': $answer" ;; esac
}

# Ends the fleet and returns when no process of it is left.
stop_fleet() {
  trap '' INT TERM HUP
  [ -z "$FLEET_COMMANDS" ] || exec {FLEET_COMMANDS}>&- {FLEET_ANSWERS}<&-
  [ -z "$FLEET_PID" ] || wait "$FLEET_PID" || true
  FLEET_PID=
}

# The value of a key of the ready line: a text, or a list of texts, one a line.
ready_text() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" <<<"$FLEET_READY"; }
ready_list() { sed -n "s/.*\"$1\":\[\(\"[^]]*\)\].*/\1/p" <<<"$FLEET_READY" | tr -d '"' | tr ',' '\n'; }
