#!/usr/bin/env bash
# Installs the Debian packages that building and testing need, if any is missing; says which and why first. With the argument
# `test` also those that only the tests need, with `bench` those that the comparison with other servers needs.
# Silent and instant when nothing is missing. Looks for the programs themselves, so that a machine that has them from
# elsewhere is left alone.
set -euo pipefail
. "$(dirname "$0")/env.sh"

# Debian has servers where only root's PATH looks.
has() { PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null 2>&1; }
has_libclang() {
  compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null ||
    compgen -G '/usr/lib/*/libclang*.so*' >/dev/null ||
    [ -n "${LIBCLANG_PATH:-}" ]
}

packages=()
reasons=()
need() { # PACKAGE, REASON
  packages+=("$1")
  reasons+=("$(printf '  %-20s %s' "$1" "$2")")
}

has c++ || need g++ 'compiles RocksDB'
has make || need make 'runs these commands'
has pkg-config || need pkg-config 'finds system libraries for the build'
has cmake || need cmake 'builds zlib-ng, which Pingora uses'
has clang || need clang 'reads C headers for the bindings to RocksDB'
has_libclang || need libclang-dev 'reads C headers for the bindings to RocksDB'
has ccache || need ccache 'keeps compiled C++, so that RocksDB is compiled once and not on every fresh build'
{ has pkg-config && pkg-config --exists 'openssl >= 3.0'; } || need libssl-dev 'the proxy uses the OpenSSL of the system'
has protoc || need protobuf-compiler 'generates the wire protocol'
has curl || need curl 'the demo shows curl lines'
has systemd-analyze || need systemd 'systemd-analyze checks the units in the tests'

if [ "${1:-}" = test ]; then
  # Debian starts the first two as services; nothing here needs that.
  has nginx || need nginx-light 'reads the same odd requests as the proxy'
  has haproxy || need haproxy 'a balancer in front of the proxy; reads the same odd requests as it'
  /usr/bin/python3 -c 'import h11' 2>/dev/null || need python3-h11 'reads the same odd requests as the proxy'
  /usr/bin/python3 -c 'import ensurepip' 2>/dev/null || need python3-venv 'holds schemathesis, which tries requests on the API'
  [ "$(id -u)" = 0 ] || has fusermount3 || need fuse3 'disks that forget what was not synced'
  has strace || need strace 'counts what a request costs in calls to the system'
  has ip || need iproute2 'machines of a test on networks of their own'
  has nft || need nftables 'loses and refuses packets on networks of tests'
  has openssl || need openssl 'tells which OpenSSL the system has'
  # The shell has a kill of its own; programs want the file.
  type -P kill >/dev/null || need procps 'sends signals to what a test has started'
fi

if [ "${1:-}" = slow ]; then
  has slowhttptest || need slowhttptest 'plays the slow clients'
  has python3 || need python3 'measures the deadline'
fi

if [ "${1:-}" = bench ]; then
  has cc || need gcc 'compiles the bare loop that is compared with'
  has python3 || need python3 'runs the comparison'
  has setpriv || need util-linux 'ends what the comparison started when it ends'
  has openssl || need openssl 'makes a certificate for the comparison'
  has nginx || need nginx 'is compared with; Debian starts it as a service'
  [ -e /usr/lib/nginx/modules/ngx_http_lua_module.so ] || need libnginx-mod-http-lua 'is compared with, as nginx with a table of links'
  has haproxy || need haproxy 'is compared with'
  has wrk || need wrk 'sends the requests once more'
  has valgrind || need valgrind 'counts instructions'
fi

if ! has cargo; then
  fail 'cargo is not installed, and no Debian 12 package is new enough.' \
    "Install Rust $(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml) with rustup (https://rustup.rs), then run this again."
fi

[ ${#packages[@]} -eq 0 ] && exit 0

say 'Missing on this machine, and what each is for:'
printf '%s\n' "${reasons[@]}" >&2

by_hand="apt-get install --no-install-recommends ${packages[*]}"
has apt-get || fail 'this machine has no apt-get, so they cannot be installed from here.' \
  "Install what corresponds to these Debian packages: ${packages[*]}"

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  has sudo || fail 'installing them takes root, and there is no sudo.' "As root, run: $by_hand"
  as_root=(sudo)
  # Without a terminal nobody can type a password: refuse at once instead of waiting for one.
  [ -t 0 ] || as_root=(sudo --non-interactive)
fi

install() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get \
    -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends "${packages[@]}" >&2
}
say "Installing: $by_hand"
"${as_root[@]}" apt-get update >&2 || say 'apt-get update failed; trying with the package index that is there.'
install || fail 'apt-get could not install them; its own messages are above.' "As root, run: apt-get update && $by_hand"
