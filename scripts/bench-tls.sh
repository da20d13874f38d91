#!/usr/bin/env bash
# Measures what a TLS handshake costs the server with the OpenSSL of the system and with BoringSSL, which is built for it (5 to 45
# minutes, once). Arguments as for bench/tls.py.
set -euo pipefail
. "$(dirname "$0")/env.sh"

scripts/deps.sh
exec python3 bench/tls.py "$@"
