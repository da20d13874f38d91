#!/usr/bin/env bash
# Everything that is checked without running the program: formatting, lints and documentation with warnings denied,
# licences and sources of dependencies, the shell scripts, the units. Goes through all of them and ends with 1 if any failed.
# What this machine lacks the means for is skipped and named in the last line; with CHECK_ALL=1, or in CI, that is a failure.
set -euo pipefail
. "$(dirname "$0")/env.sh"

failed=()
step() { # NAME, COMMAND...
  local name=$1
  shift
  say "== $name"
  "$@" || failed+=("$name")
}

skipped=()
must_not_skip=${CHECK_ALL:-${CI:-}}
skip() { # WHAT, WHY AND WHAT TO DO
  say "NOT CHECKED: $1, because $2."
  skipped+=("$1")
  [ -z "$must_not_skip" ] || return 1
}

documentation() {
  RUSTDOCFLAGS='-D warnings' cargo doc --release --locked --workspace --no-deps --document-private-items
}

# Known holes and yanked releases come from a database on the network; the rest needs none.
dependencies() {
  if ! cargo deny --version >/dev/null 2>&1; then
    say 'Installing cargo-deny, which checks licences and sources of dependencies (a few minutes, once).'
    CARGO_TARGET_DIR="$(dirname "$CARGO_TARGET_DIR")/tools" cargo install --locked cargo-deny || return 1
  fi
  cargo deny --locked check licenses bans sources || return 1
  if cargo deny --locked fetch db; then
    cargo deny --locked check advisories
  else
    skip 'known holes in dependencies' 'the advisory database cannot be fetched from here'
  fi
}

shell_scripts() {
  if ! command -v shellcheck >/dev/null 2>&1; then
    skip 'shell scripts' 'shellcheck is not installed (apt-get install shellcheck)'
    return
  fi
  shellcheck --external-sources --source-path=SCRIPTDIR scripts/*.sh .ci/run
}

step 'formatting' cargo fmt --all --check
step 'lints' cargo clippy --release --locked --workspace --all-targets -- -D warnings
step 'documentation' documentation
step 'dependencies' dependencies
step 'shell scripts' shell_scripts
step 'units' scripts/check-systemd.sh

[ ${#failed[@]} -eq 0 ] || fail "failed: ${failed[*]}"
if [ ${#skipped[@]} -gt 0 ]; then
  joined=$(printf ', %s' "${skipped[@]}")
  say "All other checks passed. NOT CHECKED, and a failure with CHECK_ALL=1: ${joined#, }."
else
  say 'All checks passed.'
fi
