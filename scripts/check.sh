#!/usr/bin/env bash
# Everything that is checked without running the program: formatting, lints and documentation with warnings denied,
# licences and sources of dependencies, the shell scripts, the units. Goes through all of them and ends with 1 if any failed.
set -euo pipefail
. "$(dirname "$0")/env.sh"

failed=()
step() { # NAME, COMMAND...
  local name=$1
  shift
  say "== $name"
  "$@" || failed+=("$name")
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
    say 'NOT CHECKED: known holes in dependencies, because the advisory database cannot be fetched from here.'
  fi
}

shell_scripts() {
  if ! command -v shellcheck >/dev/null 2>&1; then
    say 'NOT CHECKED: shellcheck is not installed (apt-get install shellcheck).'
    return 0
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
say 'All checks passed.'
