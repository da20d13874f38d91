#!/usr/bin/env bash
# Writes the Homepage fields of Debian's package index to OUT, one URL a line: real input for the demo and the checks.
# Every line is kept, doubles too, for every line is to become a link of its own. Left out, and counted on stderr, is
# what the API refuses: other schemes than http and https, credentials, whitespace or control characters, over 8 KiB.
# Ends with 3 when this machine has no package index and cannot get one; data/homepages-500.txt is for such machines.
set -euo pipefail
[ $# -eq 1 ] || { printf 'usage: %s OUT\n' "$0" >&2; exit 2; }
case $1 in /*) out=$1 ;; *) out=$PWD/$1 ;; esac
. "$(dirname "$0")/env.sh"

URL_BYTES_MAX=8192
NO_INDEX=3

no_index() {
  say "$@"
  exit "$NO_INDEX"
}

command -v apt-cache >/dev/null 2>&1 || no_index 'this machine has no apt-cache, so no package index to take homepages from.'

found=$(mktemp)
trap 'rm -f "$found" "$out.new"' EXIT
homepages() { apt-cache dumpavail | sed -n 's/^Homepage:[[:blank:]]*//p' >"$found"; }

homepages
if [ ! -s "$found" ]; then
  as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo --non-interactive)
  say "The package index is empty: ${as_root[*]:+${as_root[*]} }apt-get update fetches it."
  "${as_root[@]}" apt-get update >&2 || no_index 'It could not be fetched. As root, run: apt-get update'
  homepages
  [ -s "$found" ] || no_index 'The package index has no Homepage fields even after apt-get update.'
fi

# In the C locale a character is a byte, so lengths are in bytes and whatever is not ASCII passes.
LC_ALL=C awk -v max="$URL_BYTES_MAX" -v out="$out.new" '
  tolower($0) !~ /^https?:\/\// { left["neither http nor https"]++; next }
  /[[:blank:][:cntrl:]]/        { left["whitespace or control characters"]++; next }
  length($0) > max              { left["longer than " max " bytes"]++; next }
  {
    authority = $0
    sub(/^[^:]*:\/\//, "", authority)
    sub(/[\/?#\\].*/, "", authority)
    if (authority ~ /@/) { left["credentials"]++; next }
    if (authority == "") { left["no host"]++; next }
    kept++
    if (!seen[$0]++) distinct++
    print >out
  }
  END {
    printf "%d homepages, %d of them distinct", kept, distinct >"/dev/stderr"
    for (reason in left) printf "; left out %d (%s)", left[reason], reason >"/dev/stderr"
    printf "\n" >"/dev/stderr"
    exit kept == 0
  }' "$found" || fail 'none of the homepages can be a target.'
mv "$out.new" "$out"
