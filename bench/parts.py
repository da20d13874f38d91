"""The parts of the benchmark: each measures one thing, is bounded in time, and says how far it is."""

import json
import os
import pathlib
import re
import resource
import shutil
import statistics
import subprocess
import time

import machine
from load import BARE, TRAFFICS, Generator, open_idle, settle
from machine import GENERATOR_CORE, SERVER_CORE, say
from servers import MEMORY, Fleet, Links, Peers, Server, answer_of

IDLE_CONNECTIONS = 10_000
INGEST_LINKS_PER_S = 5_000
COLD_REQUESTS_PER_S = 2_000
LARGE_LINKS = 10_000_000
# How often a server that has not been flat out is brought to its limit: the machine's own speed differs by a third from minute to minute.
SATURATION_PROBES = 3
# Requests of the two counts whose difference is told, so that what starting costs falls out.
CALLGRIND_REQUESTS = (1_000, 6_000)


class Bench:
    """What the parts share."""

    def __init__(self, settings: dict, bin_dir: pathlib.Path, target_dir: pathlib.Path, folder: pathlib.Path):
        self.settings, self.bin_dir, self.target_dir, self.folder = settings, bin_dir, target_dir, folder
        self.fleet: Fleet
        self.links: Links
        self.peers: Peers
        self.generator: Generator
        self.servers: dict[str, Server] = {}
        # The proxy the single figures are of, and the one set up for figures of memory.
        self.main_index, self.memory_index = 0, 0
        self.extra: dict[str, object] = {}
        self.limits: dict[str, float] = {}
        self.certificate = folder / "certificate.pem"

    @property
    def main(self) -> Server:
        """The proxy the single figures are of."""
        name = "signpost-everything" if self.main_index else "signpost"
        return self.fleet.server(self.main_index, name, "Signpost")

    def saturation(self, server: Server) -> float:
        """The most bare requests a second a server has answered, by the time its core took for each."""
        if server.name in self.limits:
            return self.limits[server.name]
        rates = []
        for run in self.generator.runs:
            if (run["part"], run["server"], run["traffic"]) == ("flat-out", server.name, "bare") and not run["void"]:
                used = run["report"]["results"]["server"]
                rates.append(1e6 / used["core_us_per_answer"])
        for _ in range(0 if rates else SATURATION_PROBES):
            run = self.generator.flat_out("saturation", server, BARE, 3)
            if run["void"]:
                raise RuntimeError(f"{server.name} cannot be brought to its limit: {run['void']}")
            rates.append(1e6 / run["report"]["results"]["server"]["core_us_per_answer"])
        self.limits[server.name] = statistics.median(rates)
        return self.limits[server.name]

    def in_turn(self, round_number: int) -> list[Server]:
        """All servers, another one first in every round."""
        servers = list(self.servers.values())
        first = round_number % len(servers)
        return servers[first:] + servers[:first]


def flat_out(bench: Bench) -> None:
    """Closed loop over all traffics and servers."""
    for round_number in range(bench.settings["ROUNDS"]):
        for traffic in TRAFFICS:
            if not bench.generator.can(traffic):
                continue
            say(f"flat out, round {round_number + 1} of {bench.settings['ROUNDS']}: {traffic.title}")
            for server in bench.in_turn(round_number):
                bench.generator.flat_out("flat-out", server, traffic, bench.settings["SECONDS"], round=round_number)


def open_loop(bench: Bench) -> None:
    """Latencies at half and at four fifths of what each server can do."""
    for round_number in range(bench.settings["ROUNDS"]):
        for percent in (50, 80):
            say(f"open loop at {percent} %, round {round_number + 1} of {bench.settings['ROUNDS']}")
            for server in bench.in_turn(round_number):
                rate = bench.saturation(server) * percent / 100
                more = {"round": round_number, "percent": percent}
                bench.generator.at_rate("open-loop", server, BARE, rate, bench.settings["SECONDS"], **more)


def wrk(bench: Bench) -> None:
    """The bare requests again, from wrk."""
    for round_number in range(min(2, bench.settings["ROUNDS"])):
        say(f"wrk, round {round_number + 1}")
        for server in bench.in_turn(round_number):
            bench.generator.wrk(server, min(5, bench.settings["SECONDS"]), round_number)


def memory(bench: Bench) -> None:
    """Bytes a link takes in memory: of Signpost with all links asked for, of HAProxy with and without its map."""
    say(f"memory of {bench.links.count} links")
    bench.extra["memory"] = {"links": bench.links.count, **_memory_of(bench, bench.fleet, bench.memory_index, bench.links.count, None)}
    if "haproxy" in bench.servers:
        with_map = settle(bench.servers["haproxy"].pids, 0)
        real, bench.links.map = bench.links.map, bench.folder / "empty.map"
        bench.links.map.write_text("/nothing https://www.example.com/\n")
        try:
            without = bench.peers.haproxy()
            bytes_each = (with_map - settle(without.pids, 1)) / bench.links.count
            machine.end(without.child)
        finally:
            bench.links.map = real
        bench.extra["memory"]["haproxy_bytes_per_link"] = round(bytes_each, 1)
    say(f"  {bench.extra['memory']}")


def _memory_of(bench: Bench, fleet: Fleet, index: int, count: int, keys: pathlib.Path | None) -> dict:
    fleet.restart(index)
    before = settle([fleet.pids[index]])
    run = bench.generator.every_key_once(fleet.server(index, "signpost", ""), keys)
    after = settle([fleet.pids[index]])
    entries = fleet.metric(index, "signpost_proxy_hot_map_entries")
    return {
        "void": run["void"],
        "links_in_map": entries,
        "resident_bytes_per_link": round((after - before) / max(entries, 1), 1),
        "map_bytes_per_link": round(fleet.metric(index, "signpost_proxy_hot_map_bytes") / max(entries, 1), 1),
        "resident_bytes_before": before,
        "resident_bytes_after": after,
        "every_key_once_per_s": round(run["report"]["results"]["redirected_per_s"]) if run["report"] else None,
    }


def tls(bench: Bench) -> None:
    """A TLS connection for every request, whole handshakes and resumed ones, of servers that speak TLS."""
    seconds = min(5, bench.settings["SECONDS"])
    for round_number in range(bench.settings["ROUNDS"]):
        for resume in (False, True):
            say(f"TLS, round {round_number + 1}: {'resumed' if resume else 'whole'} handshakes")
            for server in bench.in_turn(round_number):
                if server.tls_port:
                    bench.generator.handshakes(server, resume, seconds, round_number)


def idle(bench: Bench) -> None:
    """Bytes an idle connection takes in each server, after one answer on it."""
    count = min(IDLE_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 500)
    found = {"connections": count, "resident_bytes_per_connection": {}}
    for server in bench.servers.values():
        say(f"{count} idle connections: {server.name}")
        before = settle(server.pids, 1)
        connections = open_idle(server.port, bench.links.typical_code, count)
        try:
            if len(connections) == count:
                each = round((settle(server.pids) - before) / count)
                found["resident_bytes_per_connection"][server.name] = each
                say(f"  {each} bytes each")
        finally:
            for connection in connections:
                connection.close()
    bench.extra["idle"] = found


def ingest(bench: Bench) -> None:
    """Latency at half load while links stream in, beside the same load without."""
    server, seconds = bench.main, max(bench.settings["SECONDS"], 5)
    rate = bench.saturation(server) * 0.5
    for round_number in range(min(3, bench.settings["ROUNDS"])):
        say(f"half load, round {round_number + 1}: quiet, then with {INGEST_LINKS_PER_S} links/s")
        bench.generator.at_rate("quiet", server, BARE, rate, seconds, round=round_number)
        report = bench.folder / "create.json"
        argv = [bench.bin_dir / "signpost-loadtest", "create", "--urls", bench.links.targets, "--rate", INGEST_LINKS_PER_S]
        argv += ["--batch", 100, "--connections", 32, "--respond-async", "--duration", seconds + 2, "--warm-up", 1]
        argv += ["--admin", bench.fleet.ready["admin"], "--token-file", bench.fleet.folder / "token", "--json", report]
        with open(bench.folder / "create.log", "w") as log:
            creating = machine.start(argv, GENERATOR_CORE, stdout=log, stderr=log)
            run = bench.generator.at_rate("ingest", server, BARE, rate, seconds, round=round_number)
            creating.wait(60)
        machine.end(creating)
        created = json.loads(report.read_text())["results"]["created_per_s"] if report.exists() else 0
        run["links_per_s"] = created
        if created < 0.95 * INGEST_LINKS_PER_S:
            run["void"] = run["void"] or f"only {created:.0f} links/s came"
            say(f"  VOID: {run['void']}")


def ready(bench: Bench) -> None:
    """Latency at half load in the first 10 s after a proxy says it is ready."""
    rate = bench.saturation(bench.main) * 0.5
    for round_number in range(min(3, bench.settings["ROUNDS"])):
        say(f"the first 10 s after ready, round {round_number + 1}")
        seconds = bench.fleet.restart(bench.main_index)
        run = bench.generator.at_rate("first-10-s", bench.main, BARE, rate, 10, 0, round=round_number)
        run["start_to_ready_s"] = round(seconds, 3)
    _refresh(bench)


def cold(bench: Bench) -> None:
    """Latency of keys that are on the disk alone: a new process, the page cache dropped."""
    dropped = []

    def drop_page_cache() -> None:
        os.sync()
        try:
            pathlib.Path("/proc/sys/vm/drop_caches").write_text("3\n")
            dropped.append(True)
        except OSError:
            dropped.append(False)

    for round_number in range(min(3, bench.settings["ROUNDS"])):
        say(f"cold keys, round {round_number + 1}")
        bench.fleet.restart(bench.main_index, drop_page_cache)
        run = bench.generator.at_rate("cold", bench.main, BARE, COLD_REQUESTS_PER_S, 5, 0, round=round_number)
        run["page_cache_dropped"] = dropped[-1]
    _refresh(bench)


def _refresh(bench: Bench) -> None:
    """After a restart: the server's pid, and all links in its map again."""
    server = bench.main
    if server.name in bench.servers:
        bench.servers[server.name].pids = server.pids
    bench.generator.every_key_once(server)


def large(bench: Bench) -> None:
    """Ten million links: from start to ready, disk and memory for each."""
    count = bench.settings["LARGE_LINKS"]
    say(f"{count} links in a fleet of their own; this takes minutes")
    folder = bench.folder / "large"
    free_mib = shutil.disk_usage(bench.folder).free >> 20
    need_mib = (count * 1000 >> 20) + 2048
    if free_mib < need_mib:
        say(f"  left out: {need_mib} MiB are needed, {free_mib} are free")
        return
    fleet = Fleet(bench.bin_dir, folder, count, [MEMORY], bench.certificate)
    try:
        started = [fleet.restart(0) for _ in range(3)]
        data = folder / "proxy-0" / "data"
        on_disk = disk_bytes(data if data.exists() else folder / "proxy-0")
        found = _memory_of(bench, fleet, 0, count, folder / "keys.txt")
        bench.extra["large"] = {
            "links": count,
            "start_to_ready_s": [round(seconds, 3) for seconds in started],
            "disk_bytes_per_link": round(on_disk / count, 1),
            **found,
        }
        say(f"  {bench.extra['large']}")
    finally:
        fleet.end()
        shutil.rmtree(folder, ignore_errors=True)


def disk_bytes(folder: pathlib.Path) -> int:
    """What a folder takes on disk."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def callgrind(bench: Bench) -> None:
    """Instructions of a request in user space: one connection, one request at a time, a difference of two counts."""
    found: dict[str, float] = {}
    few = bench.folder / "few.tsv"
    with open(bench.links.links) as links, open(few, "w") as out:
        out.writelines(line for line, _ in zip(links, range(CALLGRIND_REQUESTS[1])))
    for name in bench.servers:
        say(f"callgrind: {name}")
        try:
            found[name] = _instructions(bench, name, few)
            say(f"  {found[name]:.0f} instructions a request")
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            say(f"  left out: {error}")
    bench.extra["callgrind"] = {"requests": CALLGRIND_REQUESTS, "instructions_per_request": found}


def _instructions(bench: Bench, name: str, keys: pathlib.Path) -> float:
    out = bench.folder / "callgrind.out"
    valgrind = ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={out}.%p"]
    valgrind += ["--trace-children=no", "--dump-instr=no", "--combine-dumps=no"]
    for old in bench.folder.glob("callgrind.out*"):
        old.unlink()
    if name.startswith("signpost"):
        index = 1 if name == "signpost-everything" else 0
        bench.fleet.command(f"stop proxy-{index}")
        port = bench.fleet.ports[index]
        argv = [*valgrind, bench.bin_dir / "signpost-proxy", "--config", bench.fleet.folder / f"proxy-{index}" / "config.toml"]
        with open(bench.folder / "callgrind.log", "w") as log:
            child = machine.start(argv, SERVER_CORE, stdout=log, stderr=log)
        try:
            machine.wait_for_port(port, child, name)
            _wait_until_answered(port, bench.links.typical_code)
            return _difference(bench, child.pid, port, True, keys, out)
        finally:
            machine.end(child, 30)
            bench.fleet.command(f"start proxy-{index}")
            bench.fleet.pids[index] = next(
                part["pid"] for part in bench.fleet.command("status")["parts"] if part["name"] == f"proxy-{index}"
            )
            machine.pin(bench.fleet.pids[index], SERVER_CORE)
            if name in bench.servers:
                bench.servers[name].pids = [bench.fleet.pids[index]]
    real_prefix, real_links = bench.peers.prefix, bench.links.links
    # A table of a million links takes long to fill under callgrind; all that is asked for is in this one.
    bench.peers.prefix, bench.links.links = valgrind, keys
    server = None
    try:
        server = Peers.ALL[name](bench.peers)
        return _difference(bench, server.pids[0], server.port, server.has_links, keys, out)
    finally:
        bench.peers.prefix, bench.links.links = real_prefix, real_links
        if server:
            machine.end(server.child, 30)


def _wait_until_answered(port: int, code: str) -> None:
    deadline = time.monotonic() + 60
    while not answer_of(port, code, True).startswith(b"HTTP/1.1 302"):
        if time.monotonic() > deadline:
            raise RuntimeError("no redirect within 60 s")
        time.sleep(0.2)


def _difference(bench: Bench, pid: int, port: int, has_links: bool, keys: pathlib.Path, out: pathlib.Path) -> float:
    """Asks for all keys once, so that none is new, then twice as many requests and more; counts before and after each."""
    loadtest = bench.bin_dir / "signpost-loadtest"
    lines = keys.read_text().splitlines(keepends=True)

    def ask(count: int) -> None:
        some = bench.folder / "some.tsv"
        some.write_text("".join(line if has_links else line.split("\t")[0] + "\n" for line in lines[:count]))
        argv = [loadtest, "redirect", "--flat-out", "--once", "--duration", 300, "--warm-up", 0, "--connections", 1]
        argv += ["--keys", some, "--target", f"http://127.0.0.1:{port}", "--json", bench.folder / "report.json"]
        machine.run(argv, 310).check_returncode()
        results = json.loads((bench.folder / "report.json").read_text())["results"]
        if results["errors"] or results["redirected"] != count:
            raise RuntimeError(f"{results['redirected']} of {count} requests were redirected, errors: {results['errors']}")

    def zero() -> None:
        done = machine.run(["callgrind_control", "--zero", pid], 20, None)
        if done.returncode:
            raise RuntimeError(f"callgrind_control: {done.stderr.strip() or done.stdout.strip()}")

    def total() -> int:
        machine.run(["callgrind_control", "--dump", pid], 20, None).check_returncode()
        newest = max(bench.folder.glob(f"callgrind.out.{pid}*"), key=lambda path: path.stat().st_mtime_ns)
        return int(re.search(r"^(?:totals|summary): (\d+)", newest.read_text(), re.M)[1])

    ask(CALLGRIND_REQUESTS[1])
    counts = []
    for requests in CALLGRIND_REQUESTS:
        zero()
        ask(requests)
        counts.append(total())
    return round((counts[1] - counts[0]) / (CALLGRIND_REQUESTS[1] - CALLGRIND_REQUESTS[0]), 1)


def isolated(bench: Bench) -> None:
    """Runs the proxy's own measuring programs, which time its steps: every example.

    They print lines `STEP: NUMBER ns (FROM to TO)`.
    """
    said, found = {}, {}
    for source in sorted(pathlib.Path("proxy/examples").glob("*.rs")):
        say(f"isolated: {source.stem}")
        # All of the workspace, so that nothing is compiled with other features than the binaries.
        built = machine.run(["cargo", "build", "--release", "--locked", "--quiet", "--workspace", "--example", source.stem], 1800, None)
        example = pathlib.Path(os.environ["CARGO_TARGET_DIR"]) / "release" / "examples" / source.stem
        done = machine.run([example], 1800, None) if built.returncode == 0 else built
        said[source.stem] = done.stdout if done.returncode == 0 else f"exit code {done.returncode}: {done.stderr[-500:]}"
        say(said[source.stem])
        found |= {step: float(ns) for step, ns in re.findall(r"^(.+): ([\d.]+) ns \(", said[source.stem], re.M)}
    if not found:
        raise RuntimeError("no example timed a step")
    bench.extra |= {"isolated": said, "isolated_ns": found}


ALL = {
    "flat-out": flat_out,
    "open-loop": open_loop,
    "wrk": wrk,
    "tls": tls,
    "idle": idle,
    "ingest": ingest,
    "ready": ready,
    "cold": cold,
    "memory": memory,
    "callgrind": callgrind,
    "isolated": isolated,
    "large": large,
}
# What a quick run leaves out.
SLOW = {"wrk", "callgrind", "isolated", "large"}
