#!/usr/bin/env bash
# Installs what tests run that is no Debian package: schemathesis, into a Python environment of its own beside the target directory, shared between
# checkouts like that. Versions and hashes are in scripts/schemathesis.txt. Silent and instant when it is there.
set -euo pipefail
. "$(dirname "$0")/env.sh"

tools=$(dirname "$CARGO_TARGET_DIR")/tools
wanted=$(sha256sum scripts/schemathesis.txt | cut -c 1-16)
place=$tools/schemathesis-$wanted
[ -x "$place/bin/schemathesis" ] && exit 0

say 'Installing schemathesis, which tries requests on the API in the tests (once).'
mkdir -p "$tools"
# Two checkouts may get here at the same time: the second one waits and finds it done.
exec 9>"$tools/.lock"
flock 9
[ -x "$place/bin/schemathesis" ] && exit 0
rm -rf "$place"
/usr/bin/python3 -m venv "$place" ||
  fail 'no Python environment could be made.' 'As root, run: apt-get install --no-install-recommends python3-venv'
if ! "$place/bin/pip" install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
  --requirement scripts/schemathesis.txt >&2; then
  rm -rf "$place"
  fail 'schemathesis could not be installed; what pip says is above.' 'It comes from the Python package index: is the network there?'
fi
