"""What a plugin implements: kinds, unit handlers, command groups; and what it is given in return.

A kind is pure: it checks and compiles, and touches nothing. A handler does the work, one unit type each. Between the two stands the
plan. Everything a kind or handler may use comes as an argument; there is no global.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeVar

from labctl.model.address import Address
from labctl.model.json import Json, JsonObject
from labctl.model.problem import Problem
from labctl.model.unit import Change, Hold, Observation, RecordedUnit, Unit

if TYPE_CHECKING:  # it brings pydantic, which a command line that only helps does not need
    from labctl.model.resource import Resource, Spec

API_VERSION = 1
"""Raised when a hook or a class here changes so that a plugin must change."""

S = TypeVar("S", bound="Spec")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class LabInfo:
    """The lab that is being compiled.

    Args:
        name: as in `[lab] name`, or `--name`.
        directory: the lab's state folder; gone after `down`.
        data_directory: what outlives `down` (persistent disks); removed by `down --purge`.
        image_directory: the machine-wide cache of images.
        rootless: whether the lab runs in a user namespace of its own.
    """

    name: str
    directory: Path
    data_directory: Path
    image_directory: Path
    rootless: bool


class TopologyView(Protocol):
    """A topology as its kinds see it while checking. Read-only."""

    def resource(self, address: Address) -> Resource[Any]:
        """The resource of that address (KeyError where there is none; references were checked before)."""

    def resources(self, kind: str) -> Sequence[Resource[Any]]:
        """All resources of a kind, in the file's order."""

    def machine(self) -> Machine:
        """What the machine has."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The machine's size, for checks such as "more memory than there is"."""

    memory: int  # bytes
    cpus: int


class CompileView(TopologyView, Protocol):
    """A topology while it is compiled: adds contracts and stable choices."""

    @property
    def lab(self) -> LabInfo:
        """The lab."""

    def provider(self, address: Address, contract: type[T]) -> T:
        """What the resource of that address offers under a contract (see labctl.contracts).

        Raises:
            LookupError: its kind does not offer that contract.
        """

    def choose(self, pool: str, key: str, candidates: Iterable[str], *, valid: Callable[[str], bool]) -> str:
        """A choice that stays: the value chosen earlier for `key` if it is still valid and free, else the first free candidate.

        Args:
            pool: what is being handed out, e.g. `address/storage`; values are unique in a pool.
            key: for whom, e.g. `esx1/vmk1`.
            candidates: in order of preference.
            valid: whether an earlier choice still suits.

        Raises:
            LabError: every candidate is taken.
        """

    def reserve(self, pool: str, key: str, value: str) -> None:
        """Take a value that the topology names itself, before anything is chosen (call it from Kind.reserve).

        Raises:
            LabError: another key holds it.
        """

    def place(self, pool: str, key: str, candidates: Sequence[str]) -> str:
        """A choice that stays but need not be unique (a VM's host): the earlier one if still a candidate, else the first."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """How a resource shows in `status`, `inspect`, `graph` and the final table of `up`.

    Args:
        summary: a few words ("iSCSI, 8 GiB on san1").
        addresses: network → address, for people.
        node: the namespace to enter for `exec`, `shell`; None where there is none.
        agent: the node whose agent answers for it, or None (a host's or array's own name; a VM's host).
        guest: whether `exec` and `console` go to a guest.
        links: other resources that it is attached to, with a word for the edge (network.storage → "vmk1").
        parent: what it is inside of (a VM's host, a datastore's array); graphs draw it there.
        drawn: how graphs show it: a box, a bus that others hang on (a network), or not at all.
        colour: the colour of a bus and its links, as SVG has it; "" for the default.
        properties: typed facts for `inspect` and `--json`.
    """

    summary: str = ""
    addresses: Mapping[str, str] = field(default_factory=dict)
    node: str | None = None
    agent: str | None = None
    guest: bool = False
    links: Mapping[Address, str] = field(default_factory=dict)
    parent: Address | None = None
    drawn: Literal["box", "bus", "none"] = "box"
    colour: str = ""
    properties: JsonObject = field(default_factory=dict)


class ActionContext(Protocol):
    """What an action on a resource gets: the same services as a handler, and the compiled topology."""

    @property
    def services(self) -> Services:
        """The runtime's services."""

    def description(self, address: Address) -> Description:
        """A resource's description."""

    def units(self, address: Address) -> Sequence[RecordedUnit]:
        """The recorded units of a resource."""

    def units_of_type(self, unit_type: str) -> Sequence[RecordedUnit]:
        """The recorded units of a type, whosever they are (the links of a network belong to the nodes on it)."""

    async def learn(self, unit_id: str, facts: JsonObject) -> None:
        """Record new facts of a unit, all of them, and look at its resource again: what an action did shows in its state."""

    async def metrics(self) -> JsonObject:
        """The lab's metrics, as GET /v1/metrics tells them, after a look at everything."""


Action = Callable[["ActionContext", "Resource[Any]", JsonObject], Awaitable[Json]]
"""What `labctl vm stop web1` ends in: (context, resource, arguments) → result."""


class Kind(Generic[S]):
    """A kind of resource. Subclass, set `name`, `summary` and `spec`, and override what is needed."""

    name: ClassVar[str]
    summary: ClassVar[str]
    spec: type[S]
    max_name_length: ClassVar[int] = 32

    def check(self, resource: Resource[S], view: TopologyView) -> Iterable[Problem]:
        """Problems that need more than the resource's own table (its model's validators see to that)."""
        return ()

    def reserve(self, resource: Resource[S], view: CompileView) -> None:
        """Take what the topology fixes (addresses) before anything is chosen."""

    def compile(self, resource: Resource[S], view: CompileView) -> Iterable[Unit]:
        """The units that make the resource."""
        return ()

    def provide(self, contract: type[T], resource: Resource[S], view: CompileView) -> T | None:
        """An implementation of a contract for this resource, or None."""
        return None

    def describe(self, resource: Resource[S], view: CompileView) -> Description:
        """How it shows."""
        return Description()

    def actions(self) -> Mapping[str, Action]:
        """What can be done to a running resource, by name (`start`, `stop`, `reset`)."""
        return {}

    async def tend(self, context: ActionContext, resource: Resource[S]) -> float | None:
        """Look after a resource of a lab that is up, by itself; labd calls it, but never amid an `up` or `down`.

        Returns:
            Seconds until the next call; None for never again, until the next `up`.
        """
        return None


class AgentCalls(Protocol):
    """A connection to an agent, over the management network with mutual TLS."""

    async def call(self, method: str, path: str, body: Json = None, *, timeout: float = 30.0) -> Json:
        """One request, JSON in and out.

        Raises:
            labctl.agent.client.AgentUnreachableError: no answer in time.
            LabError: the agent refused; message and hint are the agent's.
        """


class Services(Protocol):
    """What the runtime gives to a handler."""

    @property
    def lab(self) -> LabInfo:
        """The lab."""

    def namespace(self, node: str) -> Path:
        """The file that stands for a node's network namespace (it need not exist yet)."""

    def cgroup(self, node: str) -> Path | None:
        """The node's cgroup folder, made where that is possible, else None."""

    def agent(self, node: str) -> AgentCalls:
        """The agent of a host or array."""

    def facts(self, unit_id: str) -> Mapping[str, Json]:
        """The recorded facts of a unit ({} where there are none)."""

    def emit(self, event: str, *, resource: Address | None = None, message: str = "", **properties: Json) -> None:
        """Publish an event (`vm.started`) to whoever follows `labctl events -f`."""

    def progress(self, unit_id: str, message: str) -> None:
        """Say what a long step is at."""


@dataclass(frozen=True, kw_only=True)
class Removal:
    """Why units are deleted, for handlers that keep data.

    Args:
        purge: the user asked to delete persistent data too.
        replaced: the ids of those units of the batch that are made again right after; what a new one takes over (a disk's content)
            stays.
    """

    purge: bool = False
    replaced: frozenset[str] = frozenset()


class UnitHandler:
    """Makes, removes, changes and looks at units of one type. All methods take many units: a handler batches what it can.

    create and delete are idempotent: what is there already as wanted is fine, and what is gone is fine. They may be given units that
    an earlier, killed process had begun. A failure of one unit must not keep the others from being done: raise UnitErrors at the end.
    """

    type: ClassVar[str]
    hold: ClassVar[Hold] = Hold.REPLACED
    """What becomes of the units that need one of these when it is made again; see Hold."""

    def change(self, old: JsonObject, new: JsonObject) -> Change:
        """How to get from one spec to another. REPLACE (delete, then create) is always right."""
        return Change.REPLACE

    async def create(self, services: Services, units: Sequence[Unit]) -> Mapping[str, JsonObject]:
        """Make them; returns facts by unit id (for those that have any).

        Raises:
            UnitErrors: for the units that failed.
        """
        raise NotImplementedError

    async def delete(self, services: Services, units: Sequence[RecordedUnit], removal: Removal) -> None:
        """Remove them, whatever state they are in.

        Raises:
            UnitErrors: for the units that could not be removed.
        """
        raise NotImplementedError

    async def update(self, services: Services, old: RecordedUnit, new: Unit) -> JsonObject:
        """Change one (IN_PLACE and POWER_CYCLE); returns its new facts, and leaves it running. Idempotent too.

        After a crash in the middle it is called again with the same `old`, whatever part of the change is already done.
        """
        raise NotImplementedError

    async def observe(self, services: Services, units: Sequence[RecordedUnit]) -> Mapping[str, Observation]:
        """Look at them, cheaply: an `up` that has nothing to do looks at all of them."""
        raise NotImplementedError

    async def settled(self, services: Services, old: RecordedUnit, new: Unit) -> None:
        """What an observation said that a unit became (Observation.became) is recorded now; called after, perhaps more than once."""


class UnitErrors(Exception):  # noqa: N818 - it carries several errors
    """The units of a batch that failed, each with its error."""

    def __init__(self, errors: Mapping[str, Exception], facts: Mapping[str, JsonObject] | None = None) -> None:
        super().__init__("; ".join(f"{unit}: {error}" for unit, error in errors.items()))
        self.errors = errors
        self.facts = facts or {}


@dataclass(frozen=True, kw_only=True)
class CommandGroup:
    """A plugin's commands, imported only when they are used.

    Args:
        name: `vm` in `labctl vm list`.
        help: one line for `labctl --help`.
        app: where the typer.Typer is, `package.module:attribute`.
        single: whether it is one command (`labctl check`) rather than a group of them.
    """

    name: str
    help: str
    app: str
    single: bool = False


@dataclass(frozen=True, kw_only=True)
class DoctorFinding:
    """One line of `labctl doctor`.

    Args:
        name: what was looked at ("QEMU's iscsi driver").
        ok: whether it is as needed.
        detail: what was found.
        mend: what to do, where it is not ok.
        required: whether the quickstart needs it.
    """

    name: str
    ok: bool
    detail: str = ""
    mend: str = ""
    required: bool = True
