"""labd's interface in OpenAPI 3.1, made from the table of endpoints.

`python -m labctl.daemon.openapi` writes docs/reference/openapi.json; a test holds the file equal to what labd serves.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from labctl.daemon.endpoints import ENDPOINTS, NUMBER, TEXT, Endpoint, record
from labctl.model.json import Json, JsonObject

ERROR = record(
    {"error": record({"message": TEXT, "type": TEXT, "exit_code": NUMBER}, {"hint": {"type": ["string", "null"]}})}
)


def document() -> JsonObject:
    """The whole description."""
    paths: dict[str, dict[str, Json]] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "labd",
            "version": "1",
            "description": "The interface of a lab's daemon, served over the unix socket labd.sock in the lab's folder.",
        },
        "paths": paths,
        "components": {"schemas": {"Error": ERROR}},
    }


def _operation(endpoint: Endpoint) -> JsonObject:
    media = "application/x-ndjson" if endpoint.stream else "application/json"
    operation: dict[str, Json] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "responses": {
            "200": {
                "description": "One such object a line." if endpoint.stream else "Done.",
                "content": {media: {"schema": endpoint.answer}},
            },
            "default": {
                "description": "What went wrong and what to do about it.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        },
    }
    if endpoint.description:
        operation["description"] = endpoint.description
    if parameters := _parameters(endpoint):
        operation["parameters"] = parameters
    if endpoint.body is not None:
        operation["requestBody"] = {"content": {"application/json": {"schema": endpoint.body}}}
    return operation


def _parameters(endpoint: Endpoint) -> list[Json]:
    found: list[Json] = [
        {"name": name, "in": "path", "required": True, "schema": TEXT} for name in re.findall(r"{(\w+)}", endpoint.path)
    ]
    found += [
        {"name": name, "in": "query", "required": False, "schema": schema, "description": meaning}
        for name, (schema, meaning) in endpoint.query.items()
    ]
    return found


def text() -> str:
    """The document as it stands in docs/reference/openapi.json."""
    return json.dumps(document(), indent=2) + "\n"


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/reference/openapi.json")
    target.write_text(text())
