"""labd's HTTP interface as a table: the routes and their description come from it, so neither can lack what the other has.

Rules: JSON in, JSON out; a stream is NDJSON with a keep-alive line (`{}`) each second, and an error in a stream is its last object,
`{"error": …}`. Everything is under /v1; fields are only ever added to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from labctl.model.json import Json, JsonObject

TEXT: JsonObject = {"type": "string"}
NUMBER: JsonObject = {"type": "integer"}
FLAG: JsonObject = {"type": "boolean"}
OBJECT: JsonObject = {"type": "object", "additionalProperties": True}


def record(required: Mapping[str, Json], optional: Mapping[str, Json] | None = None) -> JsonObject:
    """The JSON Schema of an object with these properties."""
    return {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}


def listing(items: JsonObject) -> JsonObject:
    """The JSON Schema of an array."""
    return {"type": "array", "items": items}


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One route.

    Args:
        name: the method of labctl.daemon.app.Endpoints that serves it, and its operationId.
        method: GET or POST.
        path: with `{parameters}`.
        summary: one line.
        description: what else a caller must know.
        query: query parameters, name → (schema, what it means).
        body: the request body's schema, or None.
        answer: the schema of the answer, or of each line of a stream.
        stream: whether the answer is NDJSON.
    """

    name: str
    method: str
    path: str
    summary: str
    description: str = ""
    query: Mapping[str, tuple[JsonObject, str]] = field(default_factory=dict)
    body: JsonObject | None = None
    answer: JsonObject = field(default_factory=lambda: OBJECT)
    stream: bool = False


TOPOLOGY: JsonObject = {"topology": TEXT, "path": TEXT}

PROGRESS: JsonObject = {
    "description": "`waiting` while another operation is under way, `progress` for each step, then `report`, or `error`.",
    "oneOf": [
        record({"waiting": TEXT}),
        record({"progress": OBJECT}),
        record({"report": OBJECT}),
        {"$ref": "#/components/schemas/Error"},
    ],
}

RESOURCE = record(
    {"kind": TEXT, "name": TEXT, "state": TEXT},
    {
        "detail": TEXT,
        "summary": TEXT,
        "addresses": OBJECT,
        "node": {"type": ["string", "null"]},
        "agent": {"type": ["string", "null"]},
        "guest": FLAG,
        "links": OBJECT,
        "properties": OBJECT,
    },
)

METRIC = record(
    {
        "name": TEXT,
        "type": {"enum": ["counter", "gauge"]},
        "help": TEXT,
        "samples": listing(record({"labels": OBJECT, "value": {"type": "number"}})),
    }
)

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        name="lab",
        method="GET",
        path="/v1/lab",
        summary="The lab and the labd that serves it.",
        answer=record(
            {"name": TEXT, "directory": TEXT, "rootless": FLAG, "pid": NUMBER, "version": TEXT},
            {"topology": {"type": ["string", "null"]}, "operation": {"type": ["string", "null"]}, "ending": FLAG},
        ),
    ),
    Endpoint(
        name="up",
        method="POST",
        path="/v1/up",
        summary="Bring the lab to what a topology says.",
        description="The work goes on when the caller goes away; a second request waits for the first. An interrupted operation is "
        "finished or undone first.",
        body=record(TOPOLOGY, {"restart": FLAG}),
        answer=PROGRESS,
        stream=True,
    ),
    Endpoint(
        name="plan",
        method="POST",
        path="/v1/plan",
        summary="What `up` would do with a topology; nothing is touched.",
        body=record(TOPOLOGY, {"restart": FLAG}),
        answer=record({"steps": listing(OBJECT)}),
    ),
    Endpoint(
        name="down",
        method="POST",
        path="/v1/down",
        summary="Remove everything that the journal lists, then end labd.",
        description="With `purge`, persistent disks go too.",
        body=record({}, {"purge": FLAG}),
        answer=PROGRESS,
        stream=True,
    ),
    Endpoint(
        name="status",
        method="GET",
        path="/v1/status",
        summary="Every resource and agent, and how each is.",
        query={"observe": (FLAG, "look at every unit now instead of telling what was last known")},
        answer=record({"lab": OBJECT, "resources": listing(RESOURCE), "agents": listing(OBJECT)}),
    ),
    Endpoint(
        name="inspect",
        method="GET",
        path="/v1/resources/{kind}/{name}",
        summary="Everything known of one resource: its description, its units and their facts.",
        answer=RESOURCE,
    ),
    Endpoint(
        name="action",
        method="POST",
        path="/v1/resources/{kind}/{name}/actions/{action}",
        summary="Do one of the actions of a resource's kind.",
        description="The body holds the action's arguments; `{}` where it has none. The answer is the action's result.",
        body=OBJECT,
        answer=record({"result": {}}),
    ),
    Endpoint(
        name="inventory",
        method="GET",
        path="/v1/inventory",
        summary="Managed objects, all of them or those changed since a revision.",
        query={"since": (NUMBER, "the revision after which to tell changes; without it, everything")},
        answer=record({"revision": NUMBER, "objects": listing(OBJECT)}, {"removed": listing(TEXT), "full": FLAG}),
    ),
    Endpoint(
        name="metrics",
        method="GET",
        path="/v1/metrics",
        summary="What hosts, VMs, disks and links have used, and how everything is.",
        description="Agents are asked as this is read. Names and units are Prometheus's; counters begin anew with what they count. "
        "`silent` are the nodes whose agent did not answer; `time` is labd's, in seconds since 1970.",
        answer=record({"time": {"type": "number"}, "metrics": listing(METRIC), "silent": listing(TEXT)}),
    ),
    Endpoint(
        name="events",
        method="GET",
        path="/v1/events",
        summary="What happened in the lab, and what happens.",
        query={
            "since": (NUMBER, "the number of the last event seen; 0 for all that are kept"),
            "follow": (FLAG, "keep the stream open for what comes"),
        },
        answer=record({"sequence": NUMBER, "time": {"type": "number"}, "event": TEXT}, {"properties": OBJECT}),
        stream=True,
    ),
    Endpoint(
        name="logs",
        method="GET",
        path="/v1/logs/{node}",
        summary="The log of a node's agent (of labd itself for node `labd`).",
        query={"lines": (NUMBER, "how many of the last lines; 100"), "follow": (FLAG, "keep the stream open")},
        answer=record({"line": TEXT}),
        stream=True,
    ),
    Endpoint(
        name="node",
        method="GET",
        path="/v1/nodes/{node}",
        summary="How to enter a node: its namespaces' files.",
        answer=record(
            {"node": TEXT, "network": TEXT},
            {"cgroup": {"type": ["string", "null"]}, "holder": {"type": ["object", "null"]}},
        ),
    ),
    Endpoint(
        name="openapi",
        method="GET",
        path="/openapi.json",
        summary="This description.",
    ),
)
