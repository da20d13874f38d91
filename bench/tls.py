#!/usr/bin/env python3
"""What a TLS handshake costs the server with the OpenSSL of the system and with BoringSSL: both builds of bench/tls in turns.

Usage: bench/tls.py [ROUNDS=15] [HANDSHAKES=2000]. Builds both first. Results: bench-results/<date>-tls/.
"""

import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
KINDS = ["full 1.3", "resumed 1.3", "full 1.2", "resumed 1.2"]
# Two target directories: cargo would build everything again for the other feature.
TARGET = pathlib.Path(os.environ["CARGO_TARGET_DIR"]).parent / "bench-tls"


def build(library):
    target = TARGET / library
    subprocess.run(
        ["cargo", "build", "--release", "--locked", "--features", library],
        cwd=HERE / "tls",
        env={**os.environ, "CARGO_TARGET_DIR": str(target)},
        check=True,
    )
    return target / "release" / "bench-tls"


def row(cells):
    return "| " + " | ".join(cells) + " |\n"


def spread(values):
    return f"{statistics.median(values):.1f} ({min(values):.1f}–{max(values):.1f})"


def table(rounds):
    text = row(["handshake", "OpenSSL µs", "BoringSSL µs", "BoringSSL ÷ OpenSSL"]) + "|---|---|---|---|\n"
    for kind in KINDS:
        both = [[one[kind] for one in rounds[library]] for library in ("openssl", "boring")]
        ratios = [boring / openssl for openssl, boring in zip(*both)]
        low, high = min(ratios), max(ratios)
        ratio = f"{statistics.median(ratios):.2f} ({low:.2f}–{high:.2f})"
        text += row([kind, spread(both[0]), spread(both[1]), ratio])
    return text


def main():
    given = dict(word.split("=", 1) for word in sys.argv[1:])
    count, handshakes = int(given.get("ROUNDS", 15)), given.get("HANDSHAKES", "2000")
    binaries = {library: build(library) for library in ("openssl", "boring")}
    rounds = {library: [] for library in binaries}
    for n in range(count):
        # Who comes first alternates, too.
        for library in sorted(binaries, reverse=n % 2 == 0):
            out = subprocess.run([binaries[library], handshakes], check=True, capture_output=True, text=True).stdout
            rounds[library].append(json.loads(out))
        print(f"round {n + 1} of {count}", file=sys.stderr)
    results = ROOT / "bench-results" / f"{datetime.date.today()}-tls"
    results.mkdir(parents=True, exist_ok=True)
    (results / "run.json").write_text(json.dumps(rounds) + "\n")
    cpu = next(line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    libraries = " · ".join(rounds[library][0]["library"] for library in rounds)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
    kernel, when = os.uname().release, datetime.datetime.now(datetime.timezone.utc).strftime("%FT%TZ")
    text = f"""# TLS handshakes: the OpenSSL of the system and BoringSSL

```sh
make bench-tls{''.join(f' {name}={value}' for name, value in sorted(given.items()))}
```

Processor time of the server for one handshake and one byte of answer, in µs: medians of {count} rounds in turns, {handshakes} handshakes
each, with lowest and highest. P-256 certificate, X25519, through memory, on one thread with the client (rustls in both, not counted).

{table(rounds)}
| | |
|---|---|
| when | {when} |
| commit | {commit} |
| libraries | {libraries} |
| CPU | {cpu}, {os.cpu_count()} cores |
| kernel | {kernel} |
"""
    (results / "README.md").write_text(text)
    print(table(rounds))
    print(f"Written: {(results / 'README.md').relative_to(ROOT)}")


if __name__ == "__main__":
    main()
