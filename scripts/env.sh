# What every script here stands on: the root of the checkout as working directory, the shared target directory, and one
# way to speak. Sourced, not run.
# shellcheck shell=bash

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

# Shared between checkouts, so that RocksDB is compiled once per machine and not once per clone.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/signpost/target}"

# OpenSSL is the system's, so that its security updates reach the proxy without a new build.
export OPENSSL_NO_VENDOR=1

# Says a line on stderr; stdout belongs to results.
say() {
  printf '%s\n' "$*" >&2
}

# Says what is wrong and what to do about it, one line an argument, and ends with 1.
fail() {
  printf 'error: %s\n' "$1" >&2
  shift
  [ $# -eq 0 ] || printf '       %s\n' "$@" >&2
  exit 1
}

# MiB free where a path is, or will be once it is made.
free_mib() {
  local path=$1
  while [ ! -e "$path" ]; do path=$(dirname "$path"); done
  df --output=avail --block-size=1M "$path" | tail -n 1 | tr -d ' '
}
