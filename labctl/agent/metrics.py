"""What agents of every kind tell of themselves in metrics, and the route at which they do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from labctl.contracts.metrics import METRICS_PATH, Metrics
from labctl.linux.usage import LinkUsage


def metrics_route(collect: Callable[[], Awaitable[Metrics]]) -> Route:
    """GET /v1/metrics, which collects each time."""

    async def show(_request: Request) -> Response:
        return JSONResponse({"metrics": (await collect()).to_json()})

    return Route(METRICS_PATH, show)


def add_links(metrics: Metrics, node: str, links: Mapping[str, LinkUsage]) -> None:
    """The counters of a node's links, but for the one to itself."""
    for name, usage in links.items():
        if name != "lo":
            add_link(metrics, "labctl_link", usage, {"node": node, "link": name})


def add_link(
    metrics: Metrics, prefix: str, usage: LinkUsage, labels: Mapping[str, str], *, far_end: bool = False
) -> None:
    """A link's counters.

    Args:
        metrics: take them.
        prefix: of their names.
        usage: of the end that was looked at.
        labels: of the link.
        far_end: whether the other end is meant, which receives what this one sends.
    """
    received = (usage.received_bytes, usage.received_packets, usage.received_dropped)
    sent = (usage.sent_bytes, usage.sent_packets, usage.sent_dropped)
    if far_end:
        received, sent = sent, received
    for direction, word, numbers in (("receive", "received", received), ("transmit", "transmitted", sent)):
        for unit, number in zip(("bytes", "packets", "drops"), numbers, strict=True):
            meaning = f"{unit.capitalize()} {word}"
            metrics.counter(f"{prefix}_{direction}_{unit}_total", meaning, number, **labels)
