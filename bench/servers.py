"""The servers that are compared: how each is started, on which core, over which links."""

import dataclasses
import json
import pathlib
import re
import socket
import subprocess
import time
import typing
import urllib.request

import machine
from clicks import Clicks
from machine import GENERATOR_CORE, SERVER_CORE, end, free_port, pin, say, start

PEERS = pathlib.Path(__file__).parent / "peers"

# Settings of the proxies on top of their defaults, as `fleet --set` takes them; every proxy has one worker. Nothing a request can
# do without:
PLAIN = ["clicks.enabled=false"]
# Everything a visitor's request can pass, with thresholds it does not reach.
UNREACHED = 10_000_000
EVERYTHING = [
    "clicks.enabled=true",
    f"per_network.connections_max={UNREACHED}",
    f"per_network.requests_max={100 * UNREACHED}",
    f"per_network.not_found_max={100 * UNREACHED}",
]
# For figures of memory: the database's cache out of the way, room for all links in the map.
MEMORY = [*PLAIN, "cache.block_cache_bytes=8388608", f"cache.hot_map_bytes={6 << 30}"]
EXAMPLE = pathlib.Path("proxy/config.example.toml")


@dataclasses.dataclass
class Server:
    """A running server."""

    name: str
    title: str
    port: int
    pids: list[int]
    # Whether it serves the links; if not, its one answer is not compared with them.
    has_links: bool = True
    # Where it closes after each answer, if that is another port; where it speaks TLS.
    closing_port: int | None = None
    closing_pids: list[int] | None = None
    tls_port: int | None = None
    child: subprocess.Popen | None = None
    # Begins to look at what it counts, if it counts clicks.
    clicks: typing.Callable[[], Clicks] | None = None


class Links:
    """Files of the links all servers have: codes, codes with targets, HAProxy's map, targets."""

    def __init__(self, loadtest: pathlib.Path, keys: pathlib.Path, folder: pathlib.Path):
        self.codes, self.links = keys, folder / "links.tsv"
        self.map, self.targets = folder / "haproxy.map", folder / "targets.txt"
        machine.run([loadtest, "links", "--keys", keys, "--out", self.links], 300).check_returncode()
        lengths = []
        with open(self.links) as links, open(self.map, "w") as map_file, open(self.targets, "w") as targets:
            for line in links:
                code, target = line.rstrip("\n").split("\t", 1)
                map_file.write(f"/{code} {target}\n")
                targets.write(f"{target}\n")
                lengths.append((len(target), code, target))
        self.count = len(lengths)
        # A link of ordinary length, for servers with one answer.
        _, self.typical_code, self.typical_target = sorted(lengths)[len(lengths) // 2]


class Fleet:
    """Signpost: a writer and a key pool on the generator's core, proxies on the server's."""

    def __init__(self, bin_dir: pathlib.Path, folder: pathlib.Path, links: int, proxies: list[list[str]], certificate: pathlib.Path):
        # What this version of the proxy knows: the settings of tables it lacks are left out.
        tables = set(re.findall(r"^\[+([a-z_]+)", EXAMPLE.read_text(), re.M))
        self.ports = [free_port() for _ in proxies]
        self.tls_ports = [free_port() if "tls" in tables else None for _ in proxies]
        argv = [bin_dir / "signpost-loadtest", "fleet", "--bin-dir", bin_dir, "--dir", folder]
        argv += ["--proxies", len(proxies), "--links", links, "--set", "proxy.listen.workers=1"]
        for index, settings in enumerate(proxies):
            for setting in [*self._listening(index, settings, certificate), *settings]:
                if re.split(r"[.=]", setting)[0] not in tables | {"listener"}:
                    continue
                argv += ["--set", f"proxy-{index}.{setting}"]
        self.folder, self.settings = folder, proxies
        self.child = start(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self.child.stdout.readline()
        if not line:
            raise RuntimeError("the fleet did not start; the reason is above")
        self.ready = json.loads(line)
        pids = self.ready["pids"]
        # They would have machines of their own. The generator must not wait for them: its waiting would count as the proxy's.
        for pid in [pids["admin"], *pids["keypools"]]:
            pin(pid, GENERATOR_CORE, idle=True)
        for pid in pids["proxies"]:
            pin(pid, SERVER_CORE)
        self.pids = pids["proxies"]

    def _listening(self, index: int, settings: list[str], certificate: pathlib.Path) -> list[str]:
        """Listeners on ports of our own, since one of the fleet's choosing cannot state whose its connections are."""
        whose = 'client_address="socket"' if settings is EVERYTHING else 'client_address="unstated"'
        listeners = [f'{{address="127.0.0.1:{self.ports[index]}", {whose}}}']
        more = []
        if self.tls_ports[index]:
            listeners.append(f'{{address="127.0.0.1:{self.tls_ports[index]}", tls=true, {whose}}}')
            more = [f'tls.certificate=[{{chain="{certificate_of(certificate)}", key="{key_of(certificate)}"}}]']
        return ["listen.addresses=[]", f"listener=[{', '.join(listeners)}]", *more]

    def command(self, line: str) -> dict:
        """Has the fleet do something; see `signpost-loadtest fleet --help`."""
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()
        answer = json.loads(self.child.stdout.readline())
        if not answer.get("ok"):
            raise RuntimeError(f"{line}: {answer}")
        return answer

    def restart(self, index: int, between=lambda: None) -> float:
        """Stops a proxy in order and starts it; the seconds from its start until it is ready, as seen on its health port."""
        self.command(f"stop proxy-{index}")
        between()
        begun = time.monotonic()
        self.command(f"start proxy-{index}")
        seconds = time.monotonic() - begun
        status = self.command("status")
        self.pids[index] = pid_in(status, f"proxy-{index}")
        pin(self.pids[index], SERVER_CORE)
        return seconds

    def metric(self, index: int, name: str) -> float:
        """A figure the proxy gives about itself."""
        with urllib.request.urlopen(self.ready["proxy_health"][index] + "/metrics", timeout=10) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(name + " "):
                    return float(line.split()[1])
        raise RuntimeError(f"the proxy has no metric {name}")

    def metrics(self, index: int, prefix: str) -> int:
        """The sum of a counter over its labels."""
        with urllib.request.urlopen(self.ready["proxy_health"][index] + "/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        found = [int(float(line.rsplit(" ", 1)[1])) for line in lines if re.match(re.escape(prefix) + r"[ {]", line)]
        if not found:
            raise RuntimeError(f"the proxy has no metric {prefix}")
        return sum(found)

    def clicks(self, index: int) -> Clicks:
        """What a proxy counts from here on."""
        return Clicks(
            lambda: self.metrics(index, "signpost_proxy_clicks_total"),
            lambda: self.metrics(index, "signpost_proxy_clicks_dropped_total"),
        )

    def server(self, index: int, name: str, title: str) -> Server:
        clicks = (lambda: self.clicks(index)) if "clicks.enabled=true" in self.settings[index] else None
        return Server(name, title, self.ports[index], [self.pids[index]], tls_port=self.tls_ports[index], clicks=clicks)

    def end(self) -> None:
        """Ends all of it."""
        self.child.stdin.close()
        try:
            self.child.wait(60)
        except subprocess.TimeoutExpired:
            say("the fleet does not end by itself")
        self.child.stdin = None
        end(self.child)


def pid_in(status: dict, part: str) -> int:
    """The pid of a part in the fleet's answer to `status`."""
    for entry in status.get("parts", []):
        if entry.get("part") == part or entry.get("name") == part:
            return entry["pid"]
    raise RuntimeError(f"the fleet does not tell the pid of {part}: {status}")


class Peers:
    """Starts the others."""

    def __init__(self, links: Links, folder: pathlib.Path, target_dir: pathlib.Path, answers: dict[str, bytes], certificate: pathlib.Path):
        self.links, self.folder, self.release, self.answers = links, folder, target_dir / "release", answers
        self.prefix: list = []
        self.certificate = certificate

    def _config(self, name: str, **values) -> pathlib.Path:
        text = (PEERS / name).read_text()
        for key, value in values.items():
            text = text.replace(f"@{key}@", str(value))
        path = self.folder / name
        path.write_text(text)
        return path

    def _start(self, name: str, title: str, argv: list, port: int, **more) -> Server:
        child = start([*self.prefix, *argv], SERVER_CORE, cwd=self.folder, stdout=subprocess.DEVNULL)
        machine.wait_for_port(port, child, name)
        time.sleep(0.2)
        return Server(name, title, port, [child.pid], child=child, **more)

    def floor(self) -> Server:
        binary = self.folder / "floor"
        subprocess.run(["cc", "-O2", "-o", binary, PEERS / "floor.c"], check=True, timeout=60)
        ports = [free_port(), free_port()]
        for name, answer in self.answers.items():
            (self.folder / name).write_bytes(answer)
        server = self._start("floor", "floor: bare epoll loop in C", [binary, ports[0], "kept"], ports[0], has_links=False)
        closing = self._start("floor", "", [binary, ports[1], "closed", "close"], ports[1])
        server.closing_port, server.closing_pids = ports[1], closing.pids
        return server

    def haproxy(self) -> Server:
        port, tls_port = free_port(), free_port()
        config = self._config(
            "haproxy.cfg", PORT=port, TLS_PORT=tls_port, CERTIFICATE=self.certificate, MAP=self.links.map
        )
        return self._start("haproxy", "HAProxy, map of the links", ["haproxy", "-db", "-q", "-f", config], port, tls_port=tls_port)

    def nginx_constant(self) -> Server:
        port, tls_port = free_port(), free_port()
        config = self._config(
            "nginx-constant.conf",
            PORT=port,
            TLS_PORT=tls_port,
            CERTIFICATE=self.certificate,
            TARGET=self.links.typical_target,
        )
        return self._nginx("nginx-constant", "nginx, constant answer", config, port, has_links=False, tls_port=tls_port)

    def nginx_lua(self) -> Server:
        port = free_port()
        config = self._config("nginx-lua.conf", PORT=port, LINKS=self.links.links)
        return self._nginx("nginx-lua", "nginx with Lua, table of the links", config, port)

    def _nginx(self, name: str, title: str, config: pathlib.Path, port: int, **more) -> Server:
        prefix = self.folder / f"{name}-{port}"
        prefix.mkdir()
        argv = ["nginx", "-p", prefix, "-c", config, "-e", "stderr"]
        if self.prefix:
            # Under callgrind without a master, which would be told from its worker by nothing.
            argv += ["-g", "master_process off;"]
        server = self._start(name, title, argv, port, **more)
        server.pids = machine.children_of(server.child.pid) or server.pids
        return server

    def serve_http(self) -> Server:
        port = free_port()
        argv = [self.release / "peer-serve-http", port, self.links.links]
        return self._start("serve-http", "Pingora ServeHttp, map of the links", argv, port)

    def axum(self) -> Server:
        port = free_port()
        argv = [self.release / "peer-axum", port, self.links.links]
        return self._start("axum", "axum, map of the links", argv, port)

    ALL = {
        "floor": floor,
        "haproxy": haproxy,
        "nginx-constant": nginx_constant,
        "nginx-lua": nginx_lua,
        "serve-http": serve_http,
        "axum": axum,
    }


def make_certificate(path: pathlib.Path) -> None:
    """A self-signed certificate with a P-256 key: both in one file, and each in one of its own."""
    key, certificate = key_of(path), certificate_of(path)
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    words += " -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run([*words.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True, timeout=60)
    for private in (key, path):
        private.touch()
        private.chmod(0o600)
    path.write_bytes(certificate.read_bytes() + key.read_bytes())


def key_of(path: pathlib.Path) -> pathlib.Path:
    """The key by itself."""
    return path.with_suffix(".key")


def certificate_of(path: pathlib.Path) -> pathlib.Path:
    """The certificate by itself."""
    return path.with_suffix(".crt")


def answer_of(port: int, code: str, close: bool) -> bytes:
    """The bytes a server answers with."""
    line = "Connection: close\r\n" if close else ""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(f"GET /{code} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{line}\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            part = connection.recv(65536)
            if not part:
                break
            answer += part
    return answer
