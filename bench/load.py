"""Runs of the load generator against one server, and what they found."""

import dataclasses
import json
import pathlib
import re
import socket
import time

import machine
from machine import GENERATOR_CORE, SERVER_CORE
from servers import PEERS, Links, Server

CONNECTIONS = 64
# A run is marked as disturbed above this much steal, and when something else took this share of the server's core; medians are
# given with and without such runs.
STEAL_MARK_PERCENT = 1.0
OTHERS_MARK_PERCENT = 5.0


@dataclasses.dataclass(frozen=True)
class Traffic:
    """What is sent."""

    name: str
    title: str
    header_sets: bool = False
    connection_per_request: bool = False


BARE = Traffic("bare", "keep-alive, bare requests")
BROWSER = Traffic("browser", "keep-alive, headers of browsers", header_sets=True)
CONNECTION = Traffic("connection", "one request a connection, bare", connection_per_request=True)
TRAFFICS = [BARE, BROWSER, CONNECTION]


class Generator:
    """Sends load with signpost-loadtest and keeps every report."""

    def __init__(self, loadtest: pathlib.Path, links: Links, folder: pathlib.Path, header_sets: pathlib.Path | None):
        self.loadtest, self.links, self.folder, self.header_sets = loadtest, links, folder, header_sets
        self.runs: list[dict] = []
        self.commands: dict[str, str] = {}

    def can(self, traffic: Traffic) -> bool:
        """Whether what the traffic consists of is there."""
        return not traffic.header_sets or self.header_sets is not None

    def flat_out(self, part: str, server: Server, traffic: Traffic, seconds: int, warm_up: int = 1, **notes) -> dict:
        """A closed loop."""
        return self._redirect(part, server, traffic, ["--flat-out"], seconds, warm_up, **notes)

    def at_rate(self, part: str, server: Server, traffic: Traffic, rate: float, seconds: int, warm_up: int = 1, **notes) -> dict:
        """An open loop."""
        pace = ["--rate", f"{rate:.0f}", "--arrivals", "poisson", "--watch-stalls"]
        return self._redirect(part, server, traffic, pace, seconds, warm_up, rate=round(rate), **notes)

    def every_key_once(self, server: Server, keys: pathlib.Path | None = None) -> dict:
        """Asks for every key, so that whatever remembers them has them."""
        pace = ["--flat-out", "--once"]
        return self._redirect("warming", server, BARE, pace, 3600, 0, keys=keys)

    def _redirect(self, part, server, traffic, pace, seconds, warm_up, keys=None, **notes) -> dict:
        closing = traffic.connection_per_request and server.closing_port
        port, pids = (server.closing_port, server.closing_pids) if closing else (server.port, server.pids)
        keys = keys or (self.links.links if server.has_links else self.links.codes)
        report = self.folder / "report.json"
        report.unlink(missing_ok=True)
        argv = [self.loadtest, "redirect", *pace, "--duration", seconds, "--warm-up", warm_up]
        argv += ["--connections", CONNECTIONS, "--keys", keys, "--target", f"http://127.0.0.1:{port}"]
        argv += ["--server-core", SERVER_CORE, "--json", report]
        for pid in pids:
            argv += ["--server-pid", pid]
        if traffic.header_sets:
            argv += ["--header-sets", self.header_sets]
        if traffic.connection_per_request:
            argv += ["--connection-per-request"]
        clicks = server.clicks and server.clicks()
        done = machine.run(argv, seconds + warm_up + 60)
        run = {"part": part, "server": server.name, "traffic": traffic.name, **notes, "report": None}
        void = f"exit code {done.returncode}: {done.stderr.strip().splitlines()[-1:]}" if done.returncode else None
        if report.exists():
            run["report"] = json.loads(report.read_text())
            results = run["report"]["results"]
            errors = results["errors"]
            void = void or (f"errors: {errors}" if errors else None) or (clicks and clicks.void(results["received"]))
            run["steal_percent"] = run["report"]["steal_percent"] or 0.0
        run["void"] = void
        run["disturbed"] = disturbances(run)
        self.commands.setdefault(part, " ".join(str(word) for word in argv))
        if part != "warming":
            self.runs.append(run)
        self._tell(run)
        return run

    def handshakes(self, server: Server, resume: bool, seconds: int, round_number: int) -> dict:
        """A TLS connection for every request."""
        report = self.folder / "report.json"
        report.unlink(missing_ok=True)
        keys = self.links.links if server.has_links else self.links.codes
        argv = [self.loadtest, "handshakes", "--duration", seconds, "--warm-up", 1, "--keys", keys]
        argv += ["--target", f"http://127.0.0.1:{server.tls_port}", "--server-core", SERVER_CORE, "--json", report]
        for pid in server.pids:
            argv += ["--server-pid", pid]
        argv += ["--resume"] if resume else []
        clicks = server.clicks and server.clicks()
        done = machine.run(argv, seconds + 60)
        traffic = "tls-resumed" if resume else "tls-full"
        run = {"part": "tls", "server": server.name, "traffic": traffic, "round": round_number, "report": None, "void": None}
        if done.returncode or not report.exists():
            run["void"] = f"exit code {done.returncode}: {done.stderr.strip().splitlines()[-1:]}"
        else:
            run["report"] = json.loads(report.read_text())
            results = run["report"]["results"]
            run["steal_percent"] = run["report"]["steal_percent"] or 0.0
            wanted = results["redirected"] if resume else 0
            if results["errors"]:
                run["void"] = f"errors: {results['errors']}"
            elif clicks and (void := clicks.void(results["received"])):
                run["void"] = void
            elif abs(results["resumed"] - wanted) > 0.01 * results["redirected"]:
                run["void"] = f"{results['resumed']} of {results['redirected']} connections were resumed"
        run["disturbed"] = disturbances(run)
        self.commands.setdefault("tls", " ".join(str(word) for word in argv))
        self.runs.append(run)
        self._tell(run)
        return run

    def wrk(self, server: Server, seconds: int, round_number: int) -> dict:
        """The same bare requests from another generator, to see that ours is not the finding."""
        argv = ["wrk", "--threads", 1, "--connections", CONNECTIONS, "--duration", f"{seconds}s"]
        argv += ["--script", PEERS / "wrk.lua", f"http://127.0.0.1:{server.port}", "--", self.links.codes]
        clicks = server.clicks and server.clicks()
        steal, before = machine.Steal(), machine.cpu_s(server.pids)
        done = machine.run(argv, seconds + 60)
        used = machine.cpu_s(server.pids) - before
        found = re.search(r"requests (\d+) errors (\d+) us (\d+)", done.stdout)
        run = {"part": "wrk", "server": server.name, "traffic": "bare", "round": round_number}
        run["steal_percent"] = steal.look()
        run["disturbed"] = disturbances(run)
        if found and int(found[1]):
            requests, errors, us = map(int, found.groups())
            # It ends without reading the last answers.
            void = f"{errors} errors" if errors else clicks and clicks.void(requests, CONNECTIONS)
            run |= {"void": void}
            run |= {"cpu_us": used * 1e6 / requests, "per_s": requests / us * 1e6}
        else:
            run |= {"void": f"exit code {done.returncode}: {done.stderr.strip()[-200:]}"}
        self.commands.setdefault("wrk", " ".join(str(word) for word in argv))
        self.runs.append(run)
        machine.say(f"  {server.name:15} {run.get('cpu_us', 0):6.2f} µs  {run.get('per_s', 0):9.0f}/s  {run['void'] or ''}")
        return run

    @staticmethod
    def _tell(run: dict) -> None:
        results = (run["report"] or {}).get("results")
        line = f"  {run['server']:15} {run['traffic']:10}"
        if results:
            used = results["server"]
            cost = f"{used['cpu_us_per_answer']:6.2f} µs, core {used['core_busy_percent']:5.1f} % busy" if used else ""
            latency = results["latency"]
            line += f" {results['redirected_per_s']:9.0f}/s  {cost}  p50 {latency['p50_us']:7.0f}  p99 {latency['p99_us']:7.0f}"
            line += f"  p99.9 {latency['p99_9_us']:7.0f} µs  steal {run['steal_percent']:.1f} %"
            line += "  generator full" if results.get("generator", {}).get("saturated") else ""
            line += f"  disturbed: {', '.join(run['disturbed'])}" if run["disturbed"] else ""
        machine.say(line + (f"  VOID: {run['void']}" if run["void"] else ""))


def disturbances(run: dict) -> list[str]:
    """What was not as it should be on the machine during a run."""
    found = []
    if run.get("steal_percent", 0.0) > STEAL_MARK_PERCENT:
        found.append("steal")
    server = ((run.get("report") or {}).get("results") or {}).get("server")
    if server and server["core_us_per_answer"] > server["cpu_us_per_answer"] * (1 + OTHERS_MARK_PERCENT / 100):
        found.append("others")
    return found


def open_idle(port: int, code: str, count: int) -> list[socket.socket]:
    """Connections that have had one answer each and stay open."""
    connections = []
    request = f"GET /{code} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    try:
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", port), 10)
            connections.append(connection)
            connection.sendall(request)
            if not connection.recv(4096).startswith(b"HTTP/1.1 30"):
                raise RuntimeError("an idle connection was not answered with a redirect")
    except (OSError, RuntimeError) as error:
        machine.say(f"  after {len(connections)} connections: {error}")
    return connections


def settle(pids: list[int], seconds: float = 2.0) -> int:
    """The memory of processes after a moment of quiet."""
    time.sleep(seconds)
    return machine.resident_bytes(pids)


__all__ = ["BARE", "BROWSER", "CONNECTION", "GENERATOR_CORE", "Generator", "TRAFFICS", "Traffic", "open_idle", "settle"]
