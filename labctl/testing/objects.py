"""Object storage for tests: an S3 server as a process of its own, and a wire before it that fails to order.

The server (moto, of labctl's dev extra) keeps its objects as long as it lives. What a client sees of a server that is slow, overloaded, cut
off, or killed and started again is the wire's doing, so that the objects outlive it, as they do on real object storage.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterator, Mapping
from typing import Any

_SERVE = """
import logging, sys
logging.getLogger("werkzeug").setLevel(logging.ERROR)
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
server.stop()
"""

_BODY = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>by order</Message></Error>"


class S3Server:
    """A server of S3 on loopback. Use it as a context manager.

    Args:
        bucket: one that it has from the start.
    """

    def __init__(self, bucket: str = "lab-disks") -> None:
        self.bucket = bucket
        self.port = 0
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> S3Server:
        import httpx

        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TEST_SERVER_MODE": "true"},
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        httpx.put(f"{self.endpoint}/{self.bucket}", timeout=60, trust_env=False).raise_for_status()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        with self._process as process:
            process.kill()

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.port}"

    def put(self, key: str, content: bytes) -> str:
        """Make or replace an object behind everybody's back; its URL, under which everybody may read it."""
        import httpx

        url = f"{self.endpoint}/{self.bucket}/{key}"
        headers = {"Authorization": "AWS lab:unchecked", "x-amz-acl": "public-read"}
        httpx.put(url, content=content, headers=headers, timeout=60, trust_env=False).raise_for_status()
        return url

    def keys(self, prefix: str = "") -> list[str]:
        """The names of the objects below a prefix (ListObjectsV2)."""
        import re

        import httpx

        answer = httpx.get(
            f"{self.endpoint}/{self.bucket}",
            params={"list-type": "2", "prefix": prefix},
            timeout=60,
            trust_env=False,
        )
        return re.findall(r"<Key>([^<]*)</Key>", answer.raise_for_status().text)


def s3_environment(endpoint: str, key: str = "lab") -> Mapping[str, str]:
    """What to put into the environment of whoever shall use a server, and find no one else's credentials."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": "secret-of-the-lab",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_MAX_ATTEMPTS": "1",
    }


class Wire:
    """A TCP relay on loopback that misbehaves to order. Use it as a context manager; all its work is on a thread of its own.

    Set `delay` (seconds before each piece of a request goes on), `answer` (an HTTP status and an S3 error code in place of the server's
    answer), `cut_after` (bytes of requests, counted from then on, after which every connection is reset, once) or `cut_every` (bytes of
    requests after which each connection is reset); `refuse` and `accept` are a server that is killed and one that is started again.

    Args:
        port: where the server listens on loopback.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self.delay = 0.0
        self.answer: tuple[int, str] | None = None
        self.cut_after: int | None = None
        self.cut_every: int | None = None
        self.cuts = 0
        self.requests = 0
        self.delayed = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wire", daemon=True)
        self._listener: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    def __enter__(self) -> Wire:
        self._thread.start()
        self.accept()
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()
        self._do(self._settled())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def endpoint(self) -> str:
        """The URL to give to clients."""
        return f"http://127.0.0.1:{self.port}"

    def accept(self) -> None:
        """Listen, on the same port each time."""
        self._do(self._accept())

    def refuse(self) -> None:
        """Reset every connection, and refuse new ones."""
        self._do(self._refuse())

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _accept(self) -> None:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def _refuse(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self._reset()

    async def _settled(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _reset(self) -> None:
        for writer in list(self._writers):
            sock = writer.get_extra_info("socket")
            if sock is not None and sock.fileno() >= 0:  # SO_LINGER of 0: a reset, as when a machine dies
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            below, above = await asyncio.open_connection("127.0.0.1", self._server_port)
            self._writers.add(above)
            back = asyncio.ensure_future(self._answers(below, writer))
            try:
                await self._questions(reader, above, writer)
            finally:
                back.cancel()
                for each in (above, writer):
                    each.close()
                    self._writers.discard(each)
        self._writers.discard(writer)
        self._tasks.discard(task)

    async def _questions(
        self, reader: asyncio.StreamReader, above: asyncio.StreamWriter, writer: asyncio.StreamWriter
    ) -> None:
        sent = 0
        while piece := await reader.read(1 << 16):
            self.requests += 1
            sent += len(piece)
            if self.answer is not None:
                await self._refusal(self.answer, reader, piece, writer)
                return
            if self.delay:
                self.delayed += 1
                try:
                    await asyncio.sleep(self.delay)
                finally:
                    self.delayed -= 1
            if self._cuts(len(piece), sent):
                above.write(piece[: len(piece) // 2])
                await above.drain()
                self.cuts += 1
                self._reset()
                return
            above.write(piece)
            await above.drain()

    def _cuts(self, length: int, sent: int) -> bool:
        if self.cut_after is not None:
            self.cut_after -= length
            if self.cut_after <= 0:
                self.cut_after = None
                return True
        return self.cut_every is not None and sent >= self.cut_every

    async def _refusal(
        self, answer: tuple[int, str], reader: asyncio.StreamReader, head: bytes, writer: asyncio.StreamWriter
    ) -> None:
        while b"\r\n\r\n" not in head:
            head += await reader.read(1 << 16)
        status, code = answer
        body = b"" if head.startswith(b"HEAD ") else _BODY.format(code=code).encode()
        writer.write(
            f"HTTP/1.1 {status} By Order\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n".encode()
            + body
        )
        await writer.drain()
        writer.write_eof()
        while await reader.read(1 << 16):  # what the client still sends; a reset would lose it the answer
            continue

    async def _answers(self, below: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await below.read(1 << 16):
                writer.write(piece)
                await writer.drain()
            writer.close()


@contextlib.contextmanager
def s3_behind_wire() -> Iterator[tuple[S3Server, Wire]]:
    """A server with a wire before it."""
    with S3Server() as server, Wire(server.port) as wire:
        yield server, wire
