"""Measures redirects beside their peers: `make bench`, with settings as NAME=VALUE.

MODE=full|quick   full: about an hour; quick: about a quarter of one, with shorter rounds and without wrk, callgrind, isolated, large
ROUNDS=N          rounds of each part [full: 5, quick: 3]
SECONDS=N         measured seconds of a round [full: 8, quick: 2]
LINKS=N           links all servers have [1000000]
HEADERS=DIR       header sets of browsers, a file each [loadtest/data/headers]
LARGE_LINKS=N     links of the large part [10000000]
ONLY=PART,…       parts to run [all]: flat-out open-loop wrk tls idle ingest ready cold memory callgrind isolated large
SERVERS=NAME,…    servers to compare [all]: signpost signpost-everything floor haproxy nginx-constant nginx-lua serve-http axum
SUFFIX=TEXT       ending of the folder in bench-results [redirects]
"""

import pathlib
import shutil
import signal
import sys
import time
import traceback

import machine
import parts
import report
import servers
from load import Generator
from machine import say

FULL = {"ROUNDS": 5, "SECONDS": 8}
QUICK = {"ROUNDS": 3, "SECONDS": 2}


def settings_of(words: list[str]) -> dict:
    """The settings in force; ends with 2 and how it is called when a word is none."""
    given = dict(word.split("=", 1) for word in words if "=" in word)
    known = ["MODE", "ROUNDS", "SECONDS", "LINKS", "LARGE_LINKS", "ONLY", "SERVERS", "SUFFIX", "HEADERS"]
    if len(given) != len(words) or any(name not in known for name in given):
        say(__doc__)
        sys.exit(2)
    mode = given.get("MODE", "full")
    chosen = {"MODE": mode, **(QUICK if mode == "quick" else FULL), "LINKS": 1_000_000, "LARGE_LINKS": parts.LARGE_LINKS}
    chosen |= {name: int(given[name]) for name in ("ROUNDS", "SECONDS", "LINKS", "LARGE_LINKS") if name in given}
    every = list(parts.ALL) if mode == "full" else [part for part in parts.ALL if part not in parts.SLOW]
    chosen["ONLY"] = given["ONLY"].split(",") if given.get("ONLY") else every
    all_servers = ["signpost", "signpost-everything", *servers.Peers.ALL]
    chosen["SERVERS"] = given["SERVERS"].split(",") if given.get("SERVERS") else all_servers
    for name, allowed in (("ONLY", parts.ALL), ("SERVERS", all_servers)):
        unknown = [word for word in chosen[name] if word not in allowed]
        if unknown:
            say(f"error: {name}={','.join(unknown)}: choose from {' '.join(allowed)}")
            sys.exit(2)
    # In their own order: what a server can do at most is known best when it has been flat out.
    chosen["ONLY"] = [part for part in parts.ALL if part in chosen["ONLY"]]
    chosen["HEADERS"] = given.get("HEADERS", "loadtest/data/headers")
    chosen["SUFFIX"] = given.get("SUFFIX", "redirects")
    return chosen


def main() -> int:
    """Runs the parts and writes what they found, also when one fails or it is stopped."""
    target_dir, work_dir, *words = sys.argv[1:]
    settings = settings_of(words)
    folder = pathlib.Path(work_dir)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    results = pathlib.Path("bench-results") / time.strftime(f"%Y-%m-%d-{settings['SUFFIX']}")
    command = "make bench" + "".join(f" {word}" for word in words)
    for signal_number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signal_number, lambda *_: sys.exit(130))
    bench = parts.Bench(settings, pathlib.Path("bin").resolve(), pathlib.Path(target_dir), folder.resolve())
    failed, begun = [], time.monotonic()
    try:
        prepare(bench)
        facts = machine.describe(bench.bin_dir)
        for name in settings["ONLY"]:
            say(f"\n== {name} ({time.monotonic() - begun:.0f} s since the start)")
            try:
                parts.ALL[name](bench)
            except Exception as error:
                failed.append(name)
                say(f"error: {name} failed: {error}")
                traceback.print_exc()
            write(bench, results, facts, command, begun)
    except KeyboardInterrupt:
        say("stopped")
        failed.append("stopped")
    finally:
        clean_up(bench, folder)
    if results.exists():
        say(f"\nWritten: {results}/README.md after {time.monotonic() - begun:.0f} s")
        print((results / "README.md").read_text())
    if failed:
        say(f"error: failed: {', '.join(failed)}")
    return 1 if failed else 0


def prepare(bench: parts.Bench) -> None:
    """Starts everything that is compared."""
    wanted, settings = bench.settings["SERVERS"], bench.settings
    proxies = [servers.PLAIN]
    if "signpost-everything" in wanted:
        bench.main_index = len(proxies)
        proxies.append(servers.EVERYTHING)
    if "memory" in settings["ONLY"]:
        bench.memory_index = len(proxies)
        proxies.append(servers.MEMORY)
    servers.make_certificate(bench.certificate)
    bench.fleet = servers.Fleet(bench.bin_dir, bench.folder / "fleet", settings["LINKS"], proxies, bench.certificate)
    loadtest = bench.bin_dir / "signpost-loadtest"
    bench.links = servers.Links(loadtest, bench.fleet.folder / "keys.txt", bench.folder)
    recorded = pathlib.Path(settings["HEADERS"])
    # Of all the clients recorded there the browsers, which send most; of a folder with other names, all.
    chosen = sorted(recorded.glob("browser-*.txt")) or sorted(recorded.glob("*.txt"))
    header_sets = bench.folder / "headers" if chosen else None
    if header_sets:
        header_sets.mkdir()
        for path in chosen:
            shutil.copy(path, header_sets)
        each = sum(path.stat().st_size for path in chosen) // len(chosen)
        settings["header sets"] = f"{len(chosen)}, {each} bytes on average"
    else:
        say(f"{recorded} has no header sets: requests with browsers' headers are left out")
    bench.generator = Generator(loadtest, bench.links, bench.folder, header_sets)
    signposts = [("signpost", "Signpost, plain", 0)]
    if bench.main_index:
        signposts.append(("signpost-everything", "Signpost, everything on", bench.main_index))
    for name, title, index in signposts:
        if name in wanted:
            server = bench.fleet.server(index, name, title)
            # Every link has been asked for: what is measured is the map.
            bench.generator.every_key_once(server)
            bench.servers[name] = server
    port, code = bench.fleet.ports[0], bench.links.typical_code
    answers = {name: servers.answer_of(port, code, name == "closed") for name in ("kept", "closed")}
    bench.peers = servers.Peers(bench.links, bench.folder, bench.target_dir, answers, bench.certificate)
    for name, start in servers.Peers.ALL.items():
        if name in wanted:
            say(f"starting {name}")
            bench.servers[name] = start(bench.peers)


def write(bench: parts.Bench, results: pathlib.Path, facts: dict, command: str, begun: float) -> None:
    """Writes what has been found so far."""
    titles = {name: server.title for name, server in bench.servers.items()}
    figures = report.Figures(bench.generator.runs, bench.extra, titles)
    settings = {key: " ".join(value) if isinstance(value, list) else value for key, value in bench.settings.items()}
    settings["seconds taken"] = round(time.monotonic() - begun)
    report.write(results, figures, facts, settings, command, bench.generator.commands)
    # The sources of what was compared stay with the run.
    (results / "peers").mkdir(exist_ok=True)
    for path in servers.PEERS.iterdir():
        if path.suffix in (".c", ".cfg", ".conf", ".lua"):
            shutil.copy(path, results / "peers")


def clean_up(bench: parts.Bench, folder: pathlib.Path) -> None:
    """Ends everything and removes the working folder."""
    if hasattr(bench, "fleet"):
        bench.fleet.end()
    machine.end_all()
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
