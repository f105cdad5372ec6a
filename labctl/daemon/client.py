"""The command line's end of labd's HTTP interface.

Rules: small and quick to import (the standard library's http.client over the unix socket), blocking, one connection a request. An
error that labd tells comes out as the same LabError; a labd that is not there is NotRunningError.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from labctl.agent.local import connected
from labctl.agent.wire import error_from_json, parse_line
from labctl.errors import LabError, NotRunningError
from labctl.model.json import Json, JsonObject

CALL_TIMEOUT = 120.0
"""Seconds for an answer that is not a stream; an action on a VM (a shutdown by the guest) is the slowest."""

STREAM_SILENCE = 10.0
"""Seconds without a line (labd sends one each second) after which labd counts as gone."""


class DaemonClient:
    """Calls the labd of one lab.

    Args:
        socket_path: its unix socket.
        lab: the lab's name, for messages.
    """

    def __init__(self, socket_path: Path, lab: str) -> None:
        self.lab = lab
        self._socket = socket_path

    def get(self, path: str, query: Mapping[str, str | int] | None = None, *, timeout: float = CALL_TIMEOUT) -> Any:
        """A GET's answer."""
        return self.call("GET", _with_query(path, query), timeout=timeout)

    def post(self, path: str, body: JsonObject | None = None, *, timeout: float = CALL_TIMEOUT) -> Any:
        """A POST's answer."""
        return self.call("POST", path, body or {}, timeout=timeout)

    def action(
        self,
        kind: str,
        name: str,
        action: str,
        arguments: JsonObject | None = None,
        *,
        timeout: float = CALL_TIMEOUT,
    ) -> Any:
        """Do an action of a resource's kind (`vm`, `web1`, `stop`) and return its result."""
        path = f"/v1/resources/{quote(kind)}/{quote(name)}/actions/{quote(action)}"
        return self.post(path, arguments, timeout=timeout)

    def call(self, method: str, path: str, body: Json = None, *, timeout: float = CALL_TIMEOUT) -> Any:
        """One request, JSON in and out.

        Raises:
            NotRunningError: there is no labd.
            LabError: what labd says.
        """
        connection, answer = self._request(method, path, body, timeout)
        try:
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._gone(error) from error
        finally:
            connection.close()
        return _checked(answer, content)

    def stream(
        self, method: str, path: str, body: Json = None, query: Mapping[str, str | int] | None = None
    ) -> Iterator[dict[str, Any]]:
        """The objects of an NDJSON stream; an `{"error": …}` object in it is raised.

        Raises:
            NotRunningError: there is no labd, or it ended in the middle.
            LabError: what labd says.
        """
        connection, answer = self._request(method, _with_query(path, query), body, STREAM_SILENCE)
        try:
            if answer.status >= http.client.BAD_REQUEST:
                _checked(answer, answer.read())
            while text := answer.readline():
                entry = parse_line(text)
                if entry is None:
                    continue
                error = error_from_json(entry)
                if error is not None:
                    raise error
                yield entry
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._gone(error) from error
        finally:
            connection.close()

    def _request(
        self, method: str, path: str, body: Json, timeout: float
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = _UnixConnection(self._socket, timeout)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"content-type": "application/json"} if content else {})
            return connection, connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._gone(error) from error

    def _gone(self, error: Exception) -> LabError:
        return NotRunningError(
            f"labd of lab {self.lab} does not answer ({error or type(error).__name__})",
            hint="`labctl up` starts it again and adopts what runs",
        )


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("labd", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to labd."""
        self.sock = connected(self._path, timeout=self.timeout)


def _with_query(path: str, query: Mapping[str, str | int] | None) -> str:
    return f"{path}?{urlencode(query)}" if query else path


def _checked(answer: http.client.HTTPResponse, content: bytes) -> Any:
    try:
        body = json.loads(content) if content else None
    except ValueError:
        body = None
    if answer.status < http.client.BAD_REQUEST:
        return body
    raise error_from_json(body) or LabError(f"labd answered with HTTP status {answer.status}")
