"""What is known and done about the machine: processors, steal, processes, memory, versions.

Everything started here ends with this program: in order when it can, by the kernel (`PR_SET_PDEATHSIG`) when it cannot.
"""

import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

SERVER_CORE = 0
GENERATOR_CORE = 1
# Of what sends the load: what it waits for would look like the servers' doing.
NICENESS = -20
TICKS_PER_S = os.sysconf("SC_CLK_TCK")

_children: list[subprocess.Popen] = []


def say(line: str = "") -> None:
    """Says a line on stderr; stdout belongs to results."""
    print(line, file=sys.stderr, flush=True)


def start(argv: list, core: int | None = None, **options) -> subprocess.Popen:
    """Starts a process that ends with this one, on one core if given."""
    pinned = ["taskset", "--cpu-list", str(core)] if core is not None else []
    words = [str(word) for word in ["setpriv", "--pdeathsig", "KILL", *pinned, *argv]]
    child = subprocess.Popen(words, start_new_session=True, **options)
    _children.append(child)
    return child


def end(child: subprocess.Popen, patience_s: float = 10) -> None:
    """Ends a process and what it started: TERM, and KILL when that was not enough."""
    if child in _children:
        _children.remove(child)
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        if child.poll() is not None:
            break
        try:
            # A session of its own: the group is the process and its workers.
            os.killpg(child.pid, signal_number)
        except ProcessLookupError:
            break
        try:
            child.wait(patience_s)
        except subprocess.TimeoutExpired:
            continue
    for stream in (child.stdin, child.stdout, child.stderr):
        if stream:
            stream.close()


def end_all() -> None:
    """Ends everything that is still running, the latest first."""
    for child in reversed(_children[:]):
        end(child)


def run(argv: list, timeout_s: float, core: int | None = GENERATOR_CORE) -> subprocess.CompletedProcess:
    """Runs a command to its end on the generator's core, before all else that is ordinary there, and returns what it said."""
    child = start(["nice", "--adjustment", NICENESS, *argv], core, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, err = child.communicate(timeout=timeout_s)
    finally:
        end(child)
    return subprocess.CompletedProcess(argv, child.returncode, out, err)


def pin(pid: int, core: int, idle: bool = False) -> None:
    """Moves all threads of a process to one core; `idle`: they have it only while nobody else wants it."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            os.sched_setaffinity(int(thread), {core})
            if idle:
                os.sched_setscheduler(int(thread), os.SCHED_IDLE, os.sched_param(0))
        except ProcessLookupError:
            pass


def children_of(pid: int) -> list[int]:
    """The processes a process started."""
    return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def cpu_s(pids: list[int]) -> float:
    """CPU time of processes so far, from the scheduler (the first field of schedstat, in ns)."""
    total = 0
    for pid in pids:
        for thread in os.listdir(f"/proc/{pid}/task"):
            total += int(pathlib.Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0])
    return total / 1e9


def resident_bytes(pids: list[int]) -> int:
    """Memory of processes, shared pages counted once (proportional set size)."""
    total = 0
    for pid in pids:
        text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += int(re.search(r"^Pss:\s+(\d+) kB", text, re.M)[1]) * 1024
    return total


class Steal:
    """The share of processor time that the hypervisor gave to others since the last look, in percent."""

    def __init__(self):
        self.last = self._read()

    @staticmethod
    def _read():
        fields = [int(field) for field in open("/proc/stat").readline().split()[1:9]]
        return fields[7], sum(fields)

    def look(self) -> float:
        before, self.last = self.last, self._read()
        total = self.last[1] - before[1]
        return round(100 * (self.last[0] - before[0]) / total, 2) if total else 0.0


def free_port() -> int:
    """A port that is free now, outside the range the kernel takes for outgoing connections."""
    for port in range(21000 + os.getpid() % 5000, 32000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            if port not in _given:
                _given.add(port)
                return port
    raise RuntimeError("there is no free port on 127.0.0.1")


_given: set[int] = set()


def wait_for_port(port: int, child: subprocess.Popen, name: str, patience_s: float = 120) -> None:
    """Waits until something listens on a port."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if child.poll() is not None:
                raise RuntimeError(f"{name} ended with {child.returncode} instead of listening on {port}") from None
            if time.monotonic() > deadline:
                raise RuntimeError(f"{name} does not listen on {port} after {patience_s} s") from None
            time.sleep(0.05)


def _said(argv: list[str], pattern: str) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "not installed"
    found = re.search(pattern, done.stdout + done.stderr)
    return found[1] if found else "unknown"


def describe(bin_dir: pathlib.Path) -> dict:
    """What the figures depend on."""
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())
    changed = _said(["git", "status", "--porcelain", "--untracked-files=no"], r"(\S)") not in ("unknown", "not installed")
    return {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": _said(["git", "rev-parse", "HEAD"], r"(\w+)") + (", with uncommitted changes" if changed else ""),
        "CPU": f"{cpu[1] if cpu else 'unknown'}, {os.cpu_count()} cores",
        "memory": f"{int(memory[1]) // 1024} MiB" if memory else "unknown",
        "kernel": os.uname().release,
        "signpost-proxy": _said([str(bin_dir / "signpost-proxy"), "--version"], r"(\S+)\s*$"),
        "HAProxy": _said(["haproxy", "-v"], r"version (\S+)"),
        "nginx": _said(["nginx", "-v"], r"nginx/(\S+)"),
        "wrk": _said(["wrk", "-v"], r"wrk (\S+)"),
        "valgrind": _said(["valgrind", "--version"], r"valgrind-(\S+)"),
        "OpenSSL": _said(["openssl", "version"], r"OpenSSL (\S+)"),
        "C compiler": _said(["cc", "--version"], r"(.*)\n"),
        "Rust compiler": _said(["rustc", "--version"], r"rustc (.*)"),
    }
