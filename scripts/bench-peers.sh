#!/usr/bin/env bash
# Measures redirects beside HAProxy, nginx, Pingora's ServeHttp, axum and a bare epoll loop, in one run of interleaved rounds.
# About an hour; MODE=quick takes a quarter of one. Settings are arguments NAME=VALUE; bench/redirects.py lists them.
set -euo pipefail
. "$(dirname "$0")/env.sh"

scripts/deps.sh bench
[ "$(nproc)" -ge 2 ] || fail 'this machine has one core, and the server and the generator want one each.'
cargo build --release --locked --package bench-peers

# Not /tmp, which may be memory, where the disk costs nothing. A million links take 1 GiB, ten million 10.
exec python3 bench/redirects.py "$CARGO_TARGET_DIR" "$(dirname "$CARGO_TARGET_DIR")/bench-peers" "$@"
