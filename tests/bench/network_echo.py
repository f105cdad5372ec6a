"""One TCP connection that goes to and fro, and how long its longest round trip was.

    python network_echo.py serve ADDRESS      prints a line once it listens
    python network_echo.py ask ADDRESS        prints a line once connected; then, for each line read, the longest since, in seconds

Both end with an error when the connection does.
"""

from __future__ import annotations

import selectors
import socket
import sys
import time
from contextlib import suppress

PORT = 5202


def serve(address: str) -> None:
    """Send back what comes."""
    with socket.create_server((address, PORT)) as listener:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(ConnectionError):  # whoever asks is killed in the end
            while data := connection.recv(64):
                connection.sendall(data)


def ask(address: str) -> None:
    """Send, wait, and send again."""
    connection = socket.create_connection((address, PORT), timeout=30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        longest = 0.0
        while True:
            start = time.perf_counter()
            connection.sendall(b"x")
            if not connection.recv(1):
                raise SystemExit("the connection ended")
            longest = max(longest, time.perf_counter() - start)
            if selector.select(0.001):  # and a pause, so that it leaves the CPUs to others
                if not sys.stdin.readline():
                    return
                sys.stdout.write(f"{longest}\n")
                sys.stdout.flush()
                longest = 0.0


if __name__ == "__main__":
    {"serve": serve, "ask": ask}[sys.argv[1]](sys.argv[2])
