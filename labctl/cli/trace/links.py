"""What `record`, `live` and `wireshark` share: the links of a lab that a user means, opened, and the lab's own words beside them."""

from __future__ import annotations

import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Annotated, Any
from urllib.parse import quote

import typer

from labctl.contracts.traffic import Place, names_of, places_of
from labctl.daemon.client import DaemonClient
from labctl.errors import LabError, UsageError
from labctl.linux.packet_ring import PacketRing
from labctl.linux.processes import ProcessId
from labctl.trace.capture.merge import Merge
from labctl.trace.capture.sockets import Spot, open_sockets
from labctl.trace.record import Annotation, Link, LinkType

Network = Annotated[
    list[str] | None,
    typer.Option(
        "--network", help="Only links of this network; may be given again. [default: networks of role storage]"
    ),
]
Host = Annotated[
    list[str] | None,
    typer.Option("--host", help="Only links of this host, array or node; may be given again."),
]

BUFFER = 64
"""MiB of packets that the kernel holds for each link while we are busy."""

Buffer = Annotated[int, typer.Option("--buffer", help="MiB that the kernel may hold for each link.", min=2, max=4096)]

Duration = Annotated[float | None, typer.Option("--duration", help="Stop after so many seconds.", min=0.1)]

_REFRESH = 1.0
"""Seconds after an event until names are asked for again, so that a burst of events asks once."""


def choose(resources: Sequence[dict[str, Any]], networks: Sequence[str], nodes: Sequence[str]) -> list[Place]:
    """The interfaces that a user means.

    Without a node, those of the clients: what an array sees is the same traffic, seen at its other end.

    Args:
        resources: as labd's status tells them.
        networks: names; empty for those of role storage.
        nodes: names; empty for all clients.

    Raises:
        UsageError: there is no such network or node, or nothing that fits.
    """
    places = places_of(resources)
    for wanted, known, what in (
        (networks, {place.network for place in places}, "network"),
        (nodes, {place.node for place in places}, "host, array or node"),
    ):
        for name in wanted:
            if name not in known:
                raise UsageError(f'no {what} "{name}" has links to capture', hint=_suggest(name, sorted(known)))
    chosen = [
        place
        for place in places
        if (place.network in networks if networks else place.role == "storage")
        and (place.node in nodes if nodes else not place.serves)
    ]
    if not chosen:
        raise UsageError(
            "nothing to capture: no link fits",
            hint="name a network with --network: " + ", ".join(sorted({place.network for place in places}))
            if places
            else "the lab has no networks",
        )
    return chosen


def _suggest(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f'did you mean "{close[0]}"?' if close else f"there are: {', '.join(known) or 'none'}"


def links_of(places: Sequence[Place]) -> list[Link]:
    """The places as a capture names them."""
    return [
        Link(index=index, name=place.name, type=LinkType.ETHERNET, description=place.network, resolution=1_000_000_000)
        for index, place in enumerate(places)
    ]


def open_links(client: DaemonClient, places: Sequence[Place], *, megabytes: int = BUFFER) -> Merge:
    """Open a ring at each place.

    Args:
        client: the lab.
        places: from `choose`.
        megabytes: MiB of each ring.

    Raises:
        LabError: a node is gone, or looking into it is not allowed.
    """
    entries = {node: client.get(f"/v1/nodes/{quote(node)}") for node in {place.node for place in places}}
    spots = [
        Spot(name=place.name, interface=place.interface, namespace=str(entries[place.node]["network"]))
        for place in places
    ]
    holders = [entry["holder"] for entry in entries.values() if entry.get("holder")]
    size = megabytes << 20
    sockets = open_sockets(spots, holder=ProcessId(**holders[0]) if holders else None, size=size)
    return Merge([PacketRing(each, size=size) for each in sockets])


class Follower:
    """Turns what the lab says into annotations, in a thread of its own.

    Args:
        client: the lab.
    """

    def __init__(self, client: DaemonClient) -> None:
        self._client = client
        self.notes: queue.SimpleQueue[Annotation] = queue.SimpleQueue()
        self.lost: LabError | None = None

    def start(self) -> None:
        """Put the names that hold now into the queue, and begin to follow the lab's events."""
        self._tell_names()
        last = max((int(each["sequence"]) for each in self._events(0, follow=False)), default=0)
        threading.Thread(target=self._follow, args=(last,), daemon=True).start()

    def _follow(self, last: int) -> None:
        changed = 0.0
        try:
            for entry in self._events(last, follow=True):
                self.notes.put(_annotation(entry))
                if time.monotonic() - changed > _REFRESH:
                    changed = time.monotonic()
                    self._tell_names()
        except LabError as error:
            self.lost = error  # packets go on; whoever records says so at the end

    def _events(self, since: int, *, follow: bool) -> Iterator[dict[str, Any]]:
        query = {"since": since, "follow": "true" if follow else "false"}
        return self._client.stream("GET", "/v1/events", query=query)

    def _tell_names(self) -> None:
        names = names_of(self._client.get("/v1/status")["resources"]).to_json()
        self.notes.put(Annotation(time=time.time_ns(), kind="names", data=names))


def _annotation(entry: dict[str, Any]) -> Annotation:
    event = str(entry.get("event", ""))
    data = {"event": event, **(entry.get("properties") or {})}
    kind = "fault" if event.startswith("fault.") else "event"
    return Annotation(time=int(float(entry.get("time", 0)) * 1e9), kind=kind, data=data)


@contextmanager
def until_told_to_stop() -> Iterator[Callable[[], bool]]:
    """Turns SIGINT and SIGTERM into an answer to the question whether to stop, so that what was written is finished."""
    told = threading.Event()

    def tell(*_: object) -> None:
        told.set()

    before = {number: signal.signal(number, tell) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
