"""From runs to figures, and from figures to README.md, run.json, raw data and plots."""

import gzip
import json
import pathlib
import statistics

import plot
from load import OTHERS_MARK_PERCENT, STEAL_MARK_PERCENT, TRAFFICS

TLS_TRAFFICS = {"tls-full": "one request a TLS connection, full", "tls-resumed": "one request a TLS connection, resumed"}
LATENCIES = ["p50_us", "p99_us", "p99_9_us", "max_us"]


class Spread:
    """The median of rounds, and how far they lie apart."""

    def __init__(self, values: list[float]):
        self.values = sorted(values)

    @property
    def median(self) -> float | None:
        return statistics.median(self.values) if self.values else None

    def text(self, digits: int = 2) -> str:
        """`7.61 (7.58–7.70)`."""
        if not self.values:
            return "–"
        low, high = self.values[0], self.values[-1]
        return f"{self.median:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"

    def json(self) -> dict:
        """For run.json."""
        return {"median": self.median, "values": self.values}


class Figures:
    """What the runs say."""

    def __init__(self, runs: list[dict], extra: dict, servers: dict[str, str]):
        self.runs, self.extra, self.servers = runs, extra, servers

    def of(self, part: str, value, disturbed: bool = True, **wanted) -> Spread:
        """A figure of the runs that are not void; `disturbed`: those that were disturbed too."""
        found = []
        for run in self.runs:
            if run["part"] != part or run["void"] or (run["disturbed"] and not disturbed):
                continue
            if all(run.get(key) == wish for key, wish in wanted.items()):
                one = value(run)
                if one is not None:
                    found.append(one)
        return Spread(found)

    def cpu_us(self, server: str, traffic: str, disturbed: bool = True) -> Spread:
        """CPU time a request, from the scheduler."""
        value = lambda run: run["cpu_us"] if "cpu_us" in run else run["report"]["results"]["server"]["cpu_us_per_answer"]
        return self.of("tls" if traffic.startswith("tls") else "flat-out", value, disturbed, server=server, traffic=traffic)

    def per_core(self, server: str, traffic: str, disturbed: bool = True) -> Spread:
        """Requests a second one core can answer: from the time the core was busy for each."""
        value = lambda run: 1e6 / run["report"]["results"]["server"]["core_us_per_answer"]
        return self.of("flat-out", value, disturbed, server=server, traffic=traffic)

    def latency_us(self, part: str, name: str, untouched: bool, **wanted) -> Spread:
        """A percentile of open loops, over all answers or over those that no stall of the machine touched."""

        def value(run: dict) -> float | None:
            latency = _latency(run, untouched)
            return latency[name] if latency["count"] else None

        return self.of(part, value, **wanted)

    def void(self) -> list[dict]:
        """The runs that do not count."""
        return [run for run in self.runs if run["void"]]


def judged(of, server: str, traffic: str) -> float | None:
    """The median that aims are judged by: of the undisturbed rounds where there are two or more, else of all."""
    undisturbed = of(server, traffic, disturbed=False)
    return undisturbed.median if len(undisturbed.values) >= 2 else of(server, traffic).median


def ratio(one: float | None, other: float | None) -> float | None:
    """`one / other`, if there are both."""
    return one / other if one and other else None


def aims(figures: Figures) -> list[dict]:
    """The aims, what was seen, and by how much they were met or missed."""
    cpu = lambda server, traffic: judged(figures.cpu_us, server, traffic)
    core = lambda server: judged(figures.per_core, server, "bare")
    full = "signpost-everything" if "signpost-everything" in figures.servers else "signpost"
    on = "everything on" if full != "signpost" else "everything there is so far"
    rows = []

    def aim(what: str, seen: float | None, bound: float | None, unit: str, least: bool = False, digits: int = 2) -> None:
        row = {"figure": what, "aim": bound, "least": least, "seen": seen, "unit": unit, "digits": digits, "verdict": "not measured"}
        if seen is not None and bound is not None:
            off = (seen / bound - 1) * 100 * (-1 if least else 1)
            row["verdict"] = "met" if off <= 0 else f"missed by {off:.0f} %"
            row["met"] = off <= 0
        rows.append(row)

    floor = cpu("floor", "bare")
    aim("CPU, bare, no counting", ratio(cpu("signpost", "bare"), floor), 1.12, "× floor")
    aim(f"CPU, bare, {on}", cpu(full, "bare"), floor + 1.2 if floor else None, "µs (floor + 1.2)")
    aim(f"CPU, bare, {on}", ratio(cpu(full, "bare"), cpu("haproxy", "bare")), 0.62, "× HAProxy")
    aim(f"CPU, browsers' headers, {on}", ratio(cpu(full, "browser"), cpu("haproxy", "browser")), 0.65, "× HAProxy")
    aim(f"CPU, browsers' headers, {on}", ratio(cpu(full, "browser"), cpu("serve-http", "browser")), 0.60, "× `ServeHttp`")
    aim(f"requests/s per core, bare, {on}", ratio(core(full), core("haproxy")), 1.4, "× HAProxy", True)
    aim(f"requests/s per core, bare, {on}", ratio(core(full), core("nginx-constant")), 1.15, "× nginx constant", True)
    aim("CPU, one request a connection", ratio(cpu(full, "connection"), cpu("haproxy", "connection")), 0.8, "× HAProxy")
    for traffic, title in (("tls-full", "full"), ("tls-resumed", "resumed")):
        for peer, name in (("haproxy", "HAProxy"), ("nginx-constant", "nginx")):
            aim(f"CPU, one request a TLS connection, {title}", ratio(cpu(full, traffic), cpu(peer, traffic)), 1.0, f"× {name}")
    isolated = figures.extra.get("isolated_ns", {})
    for start, bound in (("parse and lookup", 1000), ("record", 100), ("limits", 100)):
        # The dearest of the steps of that name by one thread.
        steps = {step: ns for step, ns in isolated.items() if step.startswith(start) and "2 at once" not in step}
        dearest = max(steps, key=steps.get, default=None)
        aim(dearest or start, steps.get(dearest), bound, "ns", digits=0)
    for percent, bound in ((50, 500), (80, 1000)):
        for untouched, where in ((True, "answers no stall touched"), (False, "all answers")):
            p99 = lambda server: figures.latency_us("open-loop", "p99_us", untouched, server=server, percent=percent).median
            peers = [p99(server) for server in figures.servers if not server.startswith(("signpost", "floor"))]
            best = min((peer for peer in peers if peer), default=None)
            aim(f"p99 at {percent} % load, {where}", p99(full), bound, "µs", digits=0)
            aim(f"p99 at {percent} % load, {where}", ratio(p99(full), best), 1.0, "× best peer")
    for untouched, where in ((True, "answers no stall touched"), (False, "all answers")):
        quiet, streaming = (figures.latency_us(part, "p99_us", untouched).median for part in ("quiet", "ingest"))
        aim(f"p99 under 5,000 links/s, {where}", ratio(streaming, quiet), 1.5, "× quiet")
    large = figures.extra.get("large", {})
    ten = f"{large['links']:,} links" if large else "10,000,000 links"
    aim(f"{ten}: start to ready", max(large["start_to_ready_s"]) if large else None, 5, "s")
    aim(f"{ten}: disk a link", large.get("disk_bytes_per_link"), 80, "bytes", digits=0)
    aim(f"{ten}: memory a hot link", large.get("resident_bytes_per_link"), 200, "bytes", digits=0)
    idle = figures.extra.get("idle", {}).get("resident_bytes_per_connection", {})
    aim("idle connection", idle.get(full), 4096, "bytes", digits=0)
    return rows


def write(folder: pathlib.Path, figures: Figures, facts: dict, settings: dict, command: str, commands: dict) -> None:
    """Writes everything; what the generator reported goes into raw.jsonl.gz, one run a line."""
    folder.mkdir(parents=True, exist_ok=True)
    with gzip.open(folder / "raw.jsonl.gz", "wt") as raw:
        for run in figures.runs:
            raw.write(_without_paths(json.dumps(run)) + "\n")
    rows = aims(figures)
    summary = {
        "command": command,
        "machine": facts,
        "settings": settings,
        "steal_mark_percent": STEAL_MARK_PERCENT,
        "cpu_us_per_request": _grid(figures, figures.cpu_us),
        "requests_per_s_and_core": _grid(figures, figures.per_core),
        "extra": figures.extra,
        "aims": rows,
        "runs": len(figures.runs),
        "void": [{key: run.get(key) for key in ("part", "server", "traffic", "round", "void")} for run in figures.void()],
    }
    (folder / "run.json").write_text(json.dumps(summary, indent=1) + "\n")
    plots = _plots(folder, figures)
    (folder / "README.md").write_text(_readme(figures, rows, facts, settings, command, commands, plots))


def _without_paths(text: str) -> str:
    """Where this checkout and its builder live is nobody's business, and of no use elsewhere."""
    return text.replace(f"{pathlib.Path.cwd()}/", "").replace(str(pathlib.Path.home()), "~")


def _latency(run: dict, untouched: bool) -> dict:
    results = run["report"]["results"]
    return (results["untouched"] if untouched else results)["latency"]


def _grid(figures: Figures, of) -> dict:
    return {server: {traffic.name: of(server, traffic.name).json() for traffic in TRAFFICS} for server in figures.servers}


def _plots(folder: pathlib.Path, figures: Figures) -> dict[str, str]:
    plots = {}
    for percent in (50, 80):
        for untouched, where in ((False, "all answers"), (True, "answers no stall touched")):
            lines = {}
            for server, title in figures.servers.items():
                histograms = []
                for run in figures.runs:
                    if run["part"] == "open-loop" and run["server"] == server and run["percent"] == percent and not run["void"]:
                        histograms.append(_latency(run, untouched)["buckets_ns"])
                lines[title] = plot.merge(histograms)
            name = f"latency-at-{percent}-percent{'-untouched' if untouched else ''}.svg"
            title = f"Latency by percentile at {percent} % of own saturation, open loop ({where})"
            if any(lines.values()):
                plot.latency_plot(folder / name, title, lines)
                plots[name] = title
    return plots


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def _times(spread: Spread, other: Spread) -> str:
    value = ratio(spread.median, other.median)
    return f"{value:.2f}" if value else "–"


def _readme(figures, rows, facts, settings, command, commands, plots) -> str:
    text = ["# Redirects beside their peers\n", f"`{command}` repeats it.\n"]
    text.append(_table(["", ""], [[key, str(value)] for key, value in {**facts, **settings}.items()]))
    text.append(
        "The server has one core, the generator the other; the servers take turns within every round, another one first in each.\n"
        "Signpost's workers have real-time priority while others come along, which is its default; its peers have what Debian gives them.\n"
        "Signpost's writer and key pool, which would have machines of their own, run on the generator's core while it has nothing to do.\n"
        "CPU is what the scheduler counted for the server's processes during the measured part, for each answer; stolen time is not\n"
        "in it. Requests/s per core are the inverse of the time that core was busy for each answer, interrupts included. A round with\n"
        "an error or an answer that is no redirect is void, and one after which a proxy that counts clicks has not counted exactly the\n"
        f"redirects that were received. A round with more than {STEAL_MARK_PERCENT:g} % steal, or in which others used the\n"
        f"server's core for more than {OTHERS_MARK_PERCENT:g} % of its work, is marked as disturbed, and medians are given with and without such\n"
        "rounds. On each core a thread of the highest priority sleeps 0.5 ms again and again; when it is woken more than 0.2 ms late, the\n"
        "machine itself stood still. Latencies are given over all answers and over those of busy periods (from one instant with no request\n"
        "under way to the next) without such a stall. \"Generator full\": the figures of an\n"
        "open loop are about the generator, which sends from the other core.\n"
    )
    text.append("## Aims\n\nJudged by the undisturbed rounds where a server has two or more of them, else by all.\n")
    text.append(_table(["figure", "aim", "seen", ""], [_aim_row(row) for row in rows]))
    text += _cost_tables(figures)
    text += _latency_tables(figures)
    text += [f"![{title}]({name})\n" for name, title in plots.items()]
    text += _rest(figures)
    void = figures.void()
    text.append(f"## Void rounds: {len(void)} of {len(figures.runs)}\n")
    if void:
        text.append(_table(["part", "server", "traffic", "why"], [[run["part"], run["server"], run["traffic"], run["void"]] for run in void]))
    shares = [run.get("steal_percent", 0.0) for run in figures.runs]
    if shares:
        marked = sum(bool(run["disturbed"]) for run in figures.runs)
        text.append(
            f"Steal of the rounds: median {statistics.median(shares):.1f} %, most {max(shares):.1f} %; {marked} rounds were disturbed.\n"
        )
    text.append("## Commands\n\nOne of each part, as it ran:\n\n```sh")
    text += [_without_paths(f"# {part}\n{line}") for part, line in commands.items()]
    text.append("```\n")
    text.append(
        "`run.json` has the figures, `raw.jsonl.gz` every report of the generator with its histograms. The sources of the peers and\n"
        "their configurations are in [bench/peers](../../bench/peers); those of this run are in [peers](peers).\n"
    )
    return "\n".join(text)


def _aim_row(row: dict) -> list[str]:
    number = lambda value: "–" if value is None else f"{value:,.{row['digits']}f}"
    sign = "≥" if row["least"] else "≤"
    return [row["figure"], f"{sign} {number(row['aim'])} {row['unit']}", number(row["seen"]), row["verdict"]]


def _cost_tables(figures: Figures) -> list[str]:
    text = ["## CPU a request, in µs\n"]
    traffics = [(traffic.name, traffic.title) for traffic in TRAFFICS] + list(TLS_TRAFFICS.items())
    for name, title in traffics:
        table = []
        for server, server_title in figures.servers.items():
            spread = figures.cpu_us(server, name)
            if not spread.values:
                continue
            without = figures.cpu_us(server, name, disturbed=False)
            row = [server_title, spread.text(), f"{without.text()} of {len(without.values)}"]
            row += [_times(spread, figures.cpu_us(other, name)) for other in ("floor", "haproxy", "nginx-constant")]
            row.append(f"{figures.per_core(server, name).median:,.0f}" if figures.per_core(server, name).values else "–")
            table.append(row)
        if table:
            head = ["", "median (least–most)", "undisturbed rounds", "× floor", "× HAProxy", "× nginx constant", "requests/s per core"]
            text += [f"### {title}\n", _table(head, table)]
    wrk = []
    for server, server_title in figures.servers.items():
        spread = figures.of("wrk", lambda run: run["cpu_us"], server=server)
        if spread.values:
            seen = figures.of("wrk", lambda run: run["per_s"], server=server)
            wrk.append([server_title, spread.text(), f"{seen.median:,.0f}"])
    if wrk:
        text += ["### keep-alive, bare requests, sent by wrk\n", _table(["", "µs", "requests/s seen"], wrk)]
    return text


def _latency_tables(figures: Figures) -> list[str]:
    text = []
    head = ["", "requests/s", "p50", "p99", "p99.9", "max", "p99 untouched", "p99.9 untouched", "untouched", "generator full"]
    for percent in (50, 80):
        table = []
        for server, title in figures.servers.items():
            wanted = {"server": server, "percent": percent}
            if not figures.latency_us("open-loop", "p50_us", False, **wanted).values:
                continue
            rate = figures.of("open-loop", lambda run: run["rate"], **wanted).median
            row = [title, f"{rate:,.0f}"]
            row += [f"{figures.latency_us('open-loop', name, False, **wanted).median:,.0f}" for name in LATENCIES]
            for name in ("p99_us", "p99_9_us"):
                untouched = figures.latency_us("open-loop", name, True, **wanted)
                row.append(f"{untouched.median:,.0f}" if untouched.values else "–")
            share = figures.of("open-loop", lambda run: run["report"]["results"]["untouched"]["answers_percent"], **wanted)
            row.append(f"{share.median:.0f} %")
            full = figures.of("open-loop", lambda run: run["report"]["results"]["generator"]["saturated"], **wanted)
            row.append(f"{sum(full.values)} of {len(full.values)}")
            table.append(row)
        if table:
            text += [f"## Latency at {percent} % of own saturation, open loop, in µs (medians of rounds)\n", _table(head, table)]
    return text


def _rest(figures: Figures) -> list[str]:
    text, table = [], []
    for part, title in (
        ("quiet", "half load, quiet"),
        ("ingest", "half load, 5,000 links/s applied"),
        ("first-10-s", "half load, first 10 s after ready"),
        ("cold", "2,000 requests/s, keys on disk alone"),
    ):
        latencies = [figures.latency_us(part, name, False) for name in LATENCIES]
        if latencies[0].values:
            untouched = figures.latency_us(part, "p99_us", True)
            table.append([title, *[f"{latency.median:,.0f}" for latency in latencies], f"{untouched.median:,.0f}" if untouched.values else "–"])
    if table:
        text += ["## Signpost in special circumstances, in µs\n", _table(["", "p50", "p99", "p99.9", "max", "p99 untouched"], table)]
    table = []
    idle = figures.extra.get("idle", {})
    each = idle.get("resident_bytes_per_connection", {})
    counts = figures.extra.get("callgrind", {}).get("instructions_per_request", {})
    for server, title in figures.servers.items():
        if server in each or server in counts:
            instructions = f"{counts[server]:,.0f}" if server in counts else "–"
            table.append([title, instructions, f"{each[server]:,}" if server in each else "–"])
    if table:
        count = f"{idle['connections']:,}" if idle else "idle"
        text += [
            "## Instructions and idle connections\n",
            _table(["", "instructions a request in user space (callgrind)", f"resident bytes an idle connection, of {count}"], table),
        ]
    for key, title in (("memory", "Memory of links"), ("large", "Many links")):
        found = figures.extra.get(key)
        if found:
            text += [f"## {title}\n", "```json", json.dumps(found, indent=1), "```\n"]
    for name, said in figures.extra.get("isolated", {}).items():
        text += [f"## Single steps: `cargo run --release -p signpost-proxy --example {name}`\n", "```text", said.strip(), "```\n"]
    return text
