"""How errors and event lines look in HTTP, for every service of a lab (agents and labd alike).

Rule: a LabError travels whole (message, hint, exit code) and comes out at the other end as a LabError of the same class; anything
else is a bug of ours and travels as nothing but an identifier, under which the log has the traceback. A stream is NDJSON: one JSON
object a line, and `{}` to keep it alive (labctl.agent.stream). The command line imports this at every start: no asyncio here.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from labctl import errors
from labctl.errors import ExitCode, LabError
from labctl.model.json import Json, JsonObject

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

STATUS: Mapping[ExitCode, int] = {
    ExitCode.FAILED: 422,
    ExitCode.USAGE: 400,
    ExitCode.INVALID_TOPOLOGY: 422,
    ExitCode.MISSING_TOOL: 424,
    ExitCode.MISSING_RIGHT: 403,
    ExitCode.NOT_RUNNING: 404,
    ExitCode.CONFLICT: 409,
    ExitCode.TIMED_OUT: 504,
    ExitCode.BUG: 500,
}
"""The HTTP status for each exit code."""

log = logging.getLogger(__name__)


def error_to_json(error: LabError) -> JsonObject:
    """`{"error": {message, hint, type, exit_code}}`, as sent."""
    return {
        "error": {
            "message": error.message,
            "hint": error.hint,
            "type": type(error).__name__,
            "exit_code": int(error.exit_code),
        }
    }


def error_from_json(body: object) -> LabError | None:
    """The error in an answer's body, or None where the body is not of that form."""
    inner = body.get("error") if isinstance(body, dict) else None
    if not isinstance(inner, dict) or not isinstance(inner.get("message"), str):
        return None
    kind = getattr(errors, str(inner.get("type")), LabError)
    error_type = kind if isinstance(kind, type) and issubclass(kind, LabError) else LabError
    error = error_type(inner["message"], hint=inner.get("hint"))
    # A plugin's own class is unknown here; its exit code still counts.
    try:
        error.exit_code = ExitCode(inner.get("exit_code", ExitCode.FAILED))
    except ValueError:
        error.exit_code = ExitCode.FAILED
    return error


def bug_to_error(error: BaseException, where: str) -> LabError:
    """Log an unexpected error's traceback under a fresh identifier and return what may be told of it."""
    identifier = secrets.token_hex(4)
    log.error("bug %s in %s", identifier, where, exc_info=error)
    told = LabError(
        f"internal error {identifier} in {where}: {type(error).__name__}",
        hint=f"this is a bug of labctl; the log of {where} has the traceback under {identifier}",
    )
    told.exit_code = ExitCode.BUG
    return told


def as_lab_error(error: BaseException, where: str) -> LabError:
    """The error itself where users can understand it, else a logged bug."""
    return error if isinstance(error, LabError) else bug_to_error(error, where)


def line(value: Json) -> bytes:
    """One NDJSON line."""
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


class ErrorsMiddleware:
    """Turns what a route raises into an answer.

    Args:
        app: the application around which it stands.
        where: the service's name, for the text of bugs.
    """

    def __init__(self, app: ASGIApp, where: str) -> None:
        self._app = app
        self._where = where

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI 3)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def note_begin(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, note_begin)
        except Exception as error:
            told = as_lab_error(error, self._where)
            if begun:  # too late for a status: a broken stream is what the peer sees
                raise
            await _answer(scope, receive, send, told)


async def read_object(request: Request) -> dict[str, Any]:
    """A request's body, which must be a JSON object ({} where there is none).

    Raises:
        UsageError: it is something else.
    """
    content = await request.body()
    try:
        value = json.loads(content) if content else {}
    except ValueError as error:
        raise errors.UsageError(f"the body of {request.url.path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise errors.UsageError(f"the body of {request.url.path} must be a JSON object")
    return value


async def _answer(scope: Scope, receive: Receive, send: Send, error: LabError) -> None:
    from starlette.responses import JSONResponse

    response = JSONResponse(error_to_json(error), status_code=STATUS[error.exit_code])
    await response(scope, receive, send)


def parse_line(text: bytes | str) -> dict[str, Any] | None:
    """One line of a stream; None for a keep-alive line or an empty one.

    Raises:
        ValueError: it is not a JSON object.
    """
    value = json.loads(text) if text.strip() else {}
    if not isinstance(value, dict):
        raise ValueError(f"not a JSON object: {text!r}")
    return value or None
