# What the benchmarks share: a folder on a real disk for the fleet, a folder in bench-results/ for what was found, and a
# README.md there that says with what. Sourced after fleet.sh.
# shellcheck shell=bash

# Where the fleet works. Not /tmp, which may be memory, where an fsync costs nothing.
BENCH_DIR=$(dirname "$CARGO_TARGET_DIR")/bench-fleet
RESULTS=
# What was measured, in its order, and with which commands.
BENCH_NAMES=()
BENCH_COMMANDS=()

# Makes bench-results/<date>-NAME and an empty BENCH_DIR, which is removed at the end, with the fleet ended before.
begin_bench() { # NAME
  RESULTS=bench-results/$(date +%F)-$1
  mkdir -p "$RESULTS"
  rm -rf "$BENCH_DIR"
  mkdir -p "$BENCH_DIR"
  trap 'stop_fleet; rm -rf "$BENCH_DIR"' EXIT
  trap 'exit 130' INT TERM HUP
}

# Runs one measurement: NAME, then a command, which writes RESULTS/NAME.json by itself. Its text goes to the terminal and
# to RESULTS/NAME.txt.
measure() {
  local name=$1
  shift
  say
  say "== $name: $*"
  BENCH_NAMES+=("$name")
  BENCH_COMMANDS+=("$*")
  "$@" | tee "$RESULTS/$name.txt"
}

# Writes RESULTS/README.md: TITLE, the make target that repeats it, the commands, the machine.
# shellcheck disable=SC2016 # the backticks are Markdown
end_bench() { # TITLE TARGET
  local name changed=
  # The results themselves are no change of what was measured.
  [ -z "$(git status --porcelain --untracked-files=no -- . ':!bench-results' 2>/dev/null)" ] || changed=', with uncommitted changes'
  {
    printf '# %s\n\n' "$1"
    printf '`make %s` repeats it. The parts, in their order:\n\n```sh\n' "$2"
    printf "%s\n" "${BENCH_COMMANDS[@]//"$BENCH_DIR"/\$BENCH_DIR}" | sed "s#$CARGO_TARGET_DIR#\$CARGO_TARGET_DIR#g"
    printf '```\n\n| | |\n|---|---|\n'
    printf '| when | %s |\n' "$(date --utc +%FT%TZ)"
    printf '| commit | %s%s |\n' "$(git rev-parse --verify --quiet HEAD || echo unknown)" "$changed"
    printf '| CPU | %s, %s cores |\n' "$(sed -n 's/^model name[[:blank:]]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)"
    printf '| memory | %s MiB |\n' "$(awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo)"
    printf '| kernel | %s |\n' "$(uname -r)"
    printf '| disk | %s |\n' "$(df --output=fstype,source "$BENCH_DIR" | tail -n 1 | tr -s ' ')"
    printf '| compiler | %s |\n' "$(rustc --version)"
    for name in "${BENCH_NAMES[@]}"; do
      printf '\n## %s\n```text\n%s\n```\n' "$name" "$(cat "$RESULTS/$name.txt")"
    done
  } >"$RESULTS/README.md"
  # Whose home it was is nobody's business.
  find "$RESULTS" -type f \( -name '*.json' -o -name '*.txt' -o -name '*.md' \) -exec sed -i "s#$HOME/#~/#g" {} +
  say
  say "Written: $RESULTS/README.md, with the reports beside it."
}

# Real targets, as many as this machine can tell; prints where they are.
real_targets() {
  local urls=$BENCH_DIR/homepages.txt
  scripts/debian-homepages.sh "$urls" || cp data/homepages-500.txt "$urls"
  printf '%s\n' "$urls"
}
