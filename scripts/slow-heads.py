"""Sends 200 heads byte by byte, for ever, and says after how long each was refused: 408 and the end, at the deadline.

Usage: slow-heads.py http://HOST:PORT SECONDS. Exit code 1 if one is off by more than a second.
"""

import selectors
import socket
import sys
import time
from urllib.parse import urlsplit

CLIENTS = 200
TOLERANCE_S = 1.0

target, deadline_s = urlsplit(sys.argv[1]), float(sys.argv[2])
selector = selectors.DefaultSelector()
begun = {}
for _ in range(CLIENTS):
    client = socket.create_connection((target.hostname, target.port))
    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
    begun[client] = time.monotonic()
    selector.register(client, selectors.EVENT_READ)

waits, answers = [], []
end = time.monotonic() + deadline_s + 10
while begun and time.monotonic() < end:
    for key, _ in selector.select(timeout=0.5):
        client = key.fileobj
        try:
            answer = client.recv(4096)
        except ConnectionError:
            answer = b""
        waits.append(time.monotonic() - begun.pop(client))
        answers.append(answer.startswith(b"HTTP/1.1 408 "))
        selector.unregister(client)
        client.close()
    for client in begun:
        try:
            client.send(b"x")
        except OSError:
            pass

if begun:
    print(f"{len(begun)} of {CLIENTS} heads were still waited for after {deadline_s + 10:.0f} s")
    sys.exit(1)
print(f"{CLIENTS} slow heads: refused after {min(waits):.2f} to {max(waits):.2f} s, {sum(answers)} with 408")
if not all(answers) or min(waits) < deadline_s - TOLERANCE_S or max(waits) > deadline_s + TOLERANCE_S:
    sys.exit(1)
