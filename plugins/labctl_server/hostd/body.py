"""The bodies of requests to a host, checked."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from labctl.agent.wire import read_object
from labctl.errors import UsageError

B = TypeVar("B", bound=BaseModel)


async def read_model(request: Request, model: type[B]) -> B:
    """A request's body.

    Raises:
        UsageError: it is not of that form.
    """
    try:
        return model.model_validate(await read_object(request))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{request.url.path}: {where}: {first['msg']}") from error
