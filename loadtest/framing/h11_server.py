"""A server made of h11 alone: answers 200 to every request that h11 has read to its end."""

import socket
import sys
import threading

import h11


def answer(conn, sock, status, more=()):
    headers = [("Content-Length", "0"), *more]
    sock.sendall(conn.send(h11.Response(status_code=status, headers=headers)))
    rest = conn.send(h11.EndOfMessage())
    if rest:
        sock.sendall(rest)


def serve(sock):
    conn = h11.Connection(h11.SERVER)
    while True:
        event = conn.next_event()
        if event is h11.NEED_DATA:
            if conn.they_are_waiting_for_100_continue and conn.our_state is h11.SEND_RESPONSE:
                # As Signpost: the final answer at once, and the end.
                answer(conn, sock, 200, [("Connection", "close")])
                return
            conn.receive_data(sock.recv(65536))
        elif isinstance(event, h11.EndOfMessage):
            if conn.our_state is h11.SEND_RESPONSE:
                answer(conn, sock, 200)
        elif event is h11.PAUSED:
            if conn.our_state is h11.DONE and conn.their_state is h11.DONE:
                conn.start_next_cycle()
            else:
                return
        elif isinstance(event, h11.ConnectionClosed):
            return


def run(sock):
    try:
        serve(sock)
    except (h11.RemoteProtocolError, h11.LocalProtocolError, OSError) as error:
        status = getattr(error, "error_status_hint", 400)
        try:
            sock.sendall(b"HTTP/1.1 %d Refused\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
        except OSError:
            pass
    finally:
        try:
            sock.shutdown(socket.SHUT_WR)
            sock.settimeout(1)
            while sock.recv(65536):
                pass
        except OSError:
            pass
        sock.close()


listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=512)
while True:
    accepted, _ = listener.accept()
    threading.Thread(target=run, args=(accepted,), daemon=True).start()
