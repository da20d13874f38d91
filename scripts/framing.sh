#!/usr/bin/env bash
# Sends a table of odd requests to a proxy, nginx, HAProxy and h11, and prints what each makes of them. ONLY=TEXT picks
# the cases with this in their name. Exit code 1 on a finding. About 20 s.
set -euo pipefail
. "$(dirname "$0")/env.sh"

scripts/deps.sh test
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
bin/signpost-loadtest framing --dir "$dir" --bin-dir bin --table ${ONLY:+--only "$ONLY"}
