#!/usr/bin/env bash
# Builds the release binaries and puts them into ./bin. Cargo's own lines show how far it is.
set -euo pipefail
. "$(dirname "$0")/env.sh"

BINARIES=(signpost-proxy signpost-keypool signpost-admin signpost-loadtest signpost signpost-simulation)
# A cold build with the tests leaves about 5 GiB in the target directory.
COLD_BUILD_MIB=8192

if ! compgen -G "$CARGO_TARGET_DIR/release/build/librocksdb-sys-*/out/librocksdb.a" >/dev/null; then
  free=$(free_mib "$CARGO_TARGET_DIR")
  [ "$free" -ge "$COLD_BUILD_MIB" ] || fail \
    "only $free MiB are free for $CARGO_TARGET_DIR, and a first build needs $COLD_BUILD_MIB." \
    'Free some space, or build elsewhere: CARGO_TARGET_DIR=/other/disk/target make build'
  say 'First build on this machine: RocksDB alone takes about 20 minutes on 2 cores; cargo stays at "librocksdb-sys" for'
  say 'most of that. It is then kept, by ccache and in the target directory, for every build and checkout after this one.'
fi

cargo build --release --locked --workspace --bins

mkdir -p bin
for name in "${BINARIES[@]}"; do
  built=$CARGO_TARGET_DIR/release/$name
  [ -f "$built" ] || fail "cargo built no $name."
  # A new file and a rename, never a write into the old one: that one may be running.
  cmp --silent "$built" "bin/$name" || { cp "$built" "bin/.$name.new" && mv "bin/.$name.new" "bin/$name"; }
done
