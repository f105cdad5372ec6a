"""Calls to an agent over the management network, with mutual TLS.

Rule: an agent that does not answer is AgentUnreachableError; one that refuses is the LabError that it sent. Nothing else comes out.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from labctl.agent.wire import error_from_json, parse_line
from labctl.errors import ExitCode, LabError
from labctl.model.json import Json

if TYPE_CHECKING:
    import httpx

CONNECT_TIMEOUT = 3.0
"""Seconds; the management network is local, so a silent agent is cut off or dead."""

STREAM_SILENCE = 3.0
"""Seconds without a line (an agent sends one each second) after which an agent counts as not responding."""

IDEMPOTENT = frozenset({"GET", "PUT", "DELETE"})
"""Sent a second time where a kept connection turns out to be dead (RFC 9110 9.2.2)."""


class AgentUnreachableError(LabError):
    """An agent gave no answer over the management network."""

    exit_code = ExitCode.NOT_RUNNING


class AgentClient:
    """A connection to one agent; implements labctl.plugin.api.AgentCalls.

    Args:
        node: the agent's node, for messages.
        address: its IP address on the management network.
        port: its TCP port.
        context: the TLS context (labctl.agent.tls.client_context), or None to speak to `socket`.
        socket: the agent's unix socket, used instead of the network where given.
    """

    def __init__(
        self,
        node: str,
        address: str = "localhost",
        port: int = 443,
        *,
        context: ssl.SSLContext | None = None,
        socket: Path | None = None,
    ) -> None:
        self._node = node
        host = f"[{address}]" if ":" in address else address
        self._base = f"http://{host}" if socket else f"https://{host}:{port}"
        self._context = context
        self._socket = socket
        self._http: httpx.AsyncClient | None = None

    @classmethod
    def with_certificate(
        cls, node: str, address: str, port: int, *, certificate: Path, key: Path, authority: Path
    ) -> AgentClient:
        """A client that shows the given certificate and trusts the given authority alone."""
        from labctl.agent.tls import client_context

        return cls(node, address, port, context=client_context(certificate=certificate, key=key, authority=authority))

    async def call(self, method: str, path: str, body: Json = None, *, timeout: float = 30.0) -> Json:
        """One request, JSON in and out.

        Args:
            method: GET, PUT, POST, DELETE.
            path: from `/v1/…`.
            body: sent as JSON, unless None.
            timeout: seconds for the whole answer.

        Raises:
            AgentUnreachableError: no answer in time.
            LabError: the agent refused; message and hint are the agent's.
        """
        import httpx

        try:
            async with asyncio.timeout(timeout):
                answer = await self._request(method, path, body, timeout)
        except (httpx.TransportError, TimeoutError, OSError) as error:
            raise self._unreachable(error) from error
        if answer.is_success:
            return cast(Json, answer.json()) if answer.content else None
        raise self._refusal(answer)

    async def events(
        self, *, instance: str | None = None, since: int | None = None, silence: float = STREAM_SILENCE
    ) -> AsyncGenerator[dict[str, Any] | None, None]:
        """The agent's event stream: its first object names the run (`instance`, `sequence`), then events; None for a keep-alive line.

        Args:
            instance: the run that `since` counts in.
            since: the last event seen, to get those after it.
            silence: seconds without a line after which the agent counts as gone.

        Raises:
            AgentUnreachableError: the stream cannot be opened, broke, or fell silent.
        """
        import httpx

        query: dict[str, str | int] = {}
        if instance is not None and since is not None:
            query = {"instance": instance, "since": since}
        limits = httpx.Timeout(silence, connect=CONNECT_TIMEOUT)
        try:
            async with self._client().stream("GET", "/v1/events", params=query, timeout=limits) as answer:
                if not answer.is_success:
                    await answer.aread()
                    raise self._refusal(answer)
                async for text in answer.aiter_lines():
                    yield parse_line(text)
        except (httpx.TransportError, OSError) as error:
            raise self._unreachable(error) from error
        raise AgentUnreachableError(f"the agent of {self._node} ended its event stream")

    async def close(self) -> None:
        """Close every connection."""
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    async def _request(self, method: str, path: str, body: Json, timeout: float) -> httpx.Response:
        import httpx

        arguments: dict[str, Any] = {} if body is None else {"json": body}
        limits = httpx.Timeout(timeout, connect=min(timeout, CONNECT_TIMEOUT))
        try:
            return await self._client().request(method, path, timeout=limits, **arguments)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            if method not in IDEMPOTENT:
                raise
            return await self._client().request(method, path, timeout=limits, **arguments)

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            import httpx

            # trust_env off: a proxy of the user's environment must not be asked about the lab's own networks.
            verify: ssl.SSLContext | bool = self._context if self._context is not None else False
            transport = httpx.AsyncHTTPTransport(
                verify=verify, uds=str(self._socket) if self._socket else None, trust_env=False
            )
            self._http = httpx.AsyncClient(base_url=self._base, transport=transport, trust_env=False)
        return self._http

    def _unreachable(self, error: BaseException) -> AgentUnreachableError:
        reason = str(error) or type(error).__name__
        return AgentUnreachableError(
            f"the agent of {self._node} does not answer over the management network ({reason})",
            hint=f"see `labctl logs {self._node}`, and whether the management network of {self._node} is cut",
        )

    def _refusal(self, answer: httpx.Response) -> LabError:
        try:
            told = error_from_json(answer.json())
        except ValueError:
            told = None
        return told or LabError(
            f"the agent of {self._node} answered {answer.request.method} {answer.request.url.path} "
            f"with HTTP status {answer.status_code}"
        )
