"""What is looked at before a migration, what the VM's host is then told, and who is asked how it went."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from labctl.agent.client import AgentUnreachableError
from labctl.errors import ConflictError, LabError, NotRunningError, UsageError
from labctl.model.address import Address
from labctl.model.json import Json
from labctl.model.resource import Resource
from labctl.model.unit import RecordedUnit, Unit, UnitState
from labctl.plugin.api import Description
from labctl.testing.waiting import wait_until
from labctl_server.kinds import migration as module
from labctl_server.kinds.migration import migration_actions

WEB1 = Address("vm", "web1")
MIB = 2**20
NIC = {"network": "production", "vswitch": "vSwitch0", "mac": "52:54:00:00:00:01", "address": None}
MACHINE = {"name": "web1", "memory": 128 * MIB, "disks": [], "nics": [NIC]}


@dataclass
class Agent:
    """A host's agent that answers as it is told to."""

    reachable: bool = True
    state: dict[str, Any] = field(default_factory=lambda: {"state": "running", "pending": False, "migrating_to": None})
    missing: list[str] = field(default_factory=list)
    accelerator: str = "tcg"
    task: dict[str, Any] | None = None
    asked: list[tuple[str, str, Any]] = field(default_factory=list)

    async def call(self, method: str, path: str, body: Json = None, *, timeout: float = 30.0) -> Any:
        self.asked.append((method, path, body))
        if not self.reachable:
            raise AgentUnreachableError("the agent of esx2 does not answer over the management network (silence)")
        if path == "/v1/reach":
            return {"accelerator": self.accelerator, "missing": self.missing}
        if path == "/v1/vms/web1":
            return self.state
        if method == "POST":
            return {"id": "m1", "state": "running"}
        if self.task is None:
            raise NotRunningError("host esx1 knows of no migration of web1")
        return self.task


class Context:
    """Two hosts of a cluster and one beside it; web1 runs on esx1."""

    def __init__(self) -> None:
        self.agents = {name: Agent() for name in ("esx1", "esx2", "lone")}
        self.hosts = ["esx1", "esx2"]
        self.memory = 256 * MIB
        self.links = {Address("network", "production"): "vmnic1", Address("network", "storage"): "vmk1"}
        self.vmotion: dict[str, str] = {}
        self.rules: list[dict[str, Any]] = []
        self.vms = [_vm("web1", "esx1"), _vm("db1", "esx2")]
        self.made = True
        self.learnt = asyncio.Event()

    async def learn(self, unit_id: str, facts: Any) -> None:
        assert (unit_id, facts) == ("vm:web1", {})
        self.learnt.set()

    @property
    def services(self) -> Context:
        return self

    def agent(self, node: str) -> Agent:
        return self.agents[node]

    def description(self, address: Address) -> Description:
        if address.kind == "vm":
            return Description(properties={"hosts": self.hosts, "rules": self.rules})
        network = self.vmotion.get(address.name, "management")
        addresses = {network: f"10.40.0.1{address.name[-1]}", "management": f"10.30.0.1{address.name[-1]}"}
        return Description(
            properties={"memory": self.memory, "vmotion": network}, links=self.links, addresses=addresses
        )

    def units(self, address: Address) -> list[RecordedUnit]:
        assert address == WEB1
        return self.vms[:1] if self.made else []

    def units_of_type(self, unit_type: str) -> list[RecordedUnit]:
        if unit_type == "vm":
            return self.vms
        return [*(_agent(name, "host") for name in self.agents), _agent("san1", "array")]

    async def act(self, action: str, **arguments: Any) -> Any:
        resource: Resource[Any] = Resource(address=WEB1, spec=None, table=("vm", "web1"))
        return await migration_actions()[action](self, resource, arguments)  # type: ignore[arg-type]


def _vm(name: str, host: str) -> RecordedUnit:
    spec = {"host": host, "machine": {**MACHINE, "name": name}}
    unit = Unit(id=f"vm:{name}", type="vm", resource=Address("vm", name), spec=spec)
    return RecordedUnit(unit=unit, state=UnitState.CREATED)


def _agent(node: str, kind: str) -> RecordedUnit:
    spec = {"node": node, "address": f"10.30.0.1{node[-1]}", "port": 443}
    unit = Unit(id=f"agent:{node}", type="agent", resource=Address(kind, node), spec=spec)
    return RecordedUnit(unit=unit, state=UnitState.CREATED)


@pytest.fixture
def lab() -> Context:
    return Context()


async def test_the_source_is_told_where_to_and_what_the_vm_is_there(lab: Context) -> None:
    """The network has another vSwitch on the destination."""
    assert (await lab.act("migrate", to="esx2", downtime=200, bandwidth=None, encrypted=False))["id"] == "m1"
    method, path, body = lab.agents["esx1"].asked[-1]
    assert (method, path) == ("POST", "/v1/vms/web1/migration")
    assert len(body.pop("id")) == 12
    assert body == {
        "host": "esx2",
        "address": "10.30.0.12",
        "port": 443,
        "listen": "10.30.0.12",
        "machine": {**MACHINE, "nics": [{**NIC, "vswitch": "vSwitch1"}]},
        "downtime": 200,
        "encrypted": False,
    }


async def test_a_network_for_vmotion_carries_it_where_both_hosts_name_it(lab: Context) -> None:
    lab.vmotion = {"esx2": "fast"}
    await lab.act("migrate", to="esx2")
    assert lab.agents["esx1"].asked[-1][2]["listen"] == "10.30.0.12"
    lab.vmotion["esx1"] = "fast"
    await lab.act("migrate", to="esx2")
    assert lab.agents["esx1"].asked[-1][2]["listen"] == "10.40.0.12"


def _off(lab: Context) -> None:
    lab.agents["esx1"].state["state"] = "off"


def _moving(lab: Context) -> None:
    lab.agents["esx1"].state["migrating_to"] = "esx2"


def _pending(lab: Context) -> None:
    lab.agents["esx1"].state["pending"] = True


def _source_lost(lab: Context) -> None:
    lab.agents["esx1"].reachable = False


def _lost(lab: Context) -> None:
    lab.agents["esx2"].reachable = False


def _bound(lab: Context) -> None:
    lab.hosts = ["esx1"]


def _elsewhere(lab: Context) -> None:
    lab.hosts = ["esx1", "esx3"]


def _full(lab: Context) -> None:
    lab.memory = 192 * MIB


def _no_uplink(lab: Context) -> None:
    lab.links = {Address("network", "production"): "vmk1"}


def _cut(lab: Context) -> None:
    lab.agents["esx2"].missing = ["disk web1-disk0: its iSCSI portal 10.20.0.10:3260 cannot be reached (no answer)"]


def _other_processor(lab: Context) -> None:
    lab.agents["esx2"].accelerator = "kvm"


@pytest.mark.parametrize(
    ("fault", "name", "detail"),
    [
        (_off, "VM", "web1 is powered off, and only a running VM is live-migrated"),
        (_moving, "VM", "web1 is being migrated to esx2 already"),
        (_pending, "VM", "web1 waits for a power-cycle that changes its hardware"),
        (_bound, "cluster", "the topology binds it to host esx1"),
        (_elsewhere, "cluster", "esx2 is not in its cluster"),
        (_full, "memory", "esx2 has 64 MiB of memory free, and it needs 128 MiB"),
        (_no_uplink, "network", "esx2 has no uplink to network production"),
        (_source_lost, "VM", "host esx1 does not respond"),
        (_lost, "host", "host esx2 does not respond"),
        (
            _cut,
            "datastore",
            "from esx2, disk web1-disk0: its iSCSI portal 10.20.0.10:3260 cannot be reached (no answer)",
        ),
        (_other_processor, "processor", "esx1 runs guests by tcg, esx2 by kvm"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
async def test_each_check_says_what_it_found(lab: Context, fault: Any, name: str, detail: str) -> None:
    fault(lab)
    failed = [found for found in (await lab.act("check-migration", to="esx2"))["checks"] if not found["ok"]]
    assert failed == [{"name": name, "ok": False, "detail": detail}]
    with pytest.raises(ConflictError) as caught:
        await lab.act("migrate", to="esx2")
    assert caught.value.message == f"web1 cannot be migrated to esx2: {detail}"
    assert caught.value.hint == "see all checks: labctl vm migrate web1 --to esx2 --check"


async def test_all_that_failed_is_told_at_once(lab: Context) -> None:
    _off(lab)
    _full(lab)
    with pytest.raises(ConflictError, match=r"is powered off, .*; esx2 has 64 MiB of memory free"):
        await lab.act("migrate", to="esx2")


async def test_a_vm_does_not_go_where_it_is(lab: Context) -> None:
    with pytest.raises(ConflictError, match="web1 cannot be migrated to esx1: it runs on esx1 already"):
        await lab.act("migrate", to="esx1")


async def test_a_host_must_be_named_and_be_there(lab: Context) -> None:
    with pytest.raises(UsageError, match="migrate needs a host"):
        await lab.act("migrate")
    with pytest.raises(NotRunningError, match='there is no host named "esx9"') as caught:
        await lab.act("migrate", to="esx9")
    assert caught.value.hint is not None
    with pytest.raises(NotRunningError, match='there is no host named "san1"'):
        await lab.act("migrate", to="san1")
    lab.made = False
    with pytest.raises(NotRunningError, match="web1 is not there yet"):
        await lab.act("migrate", to="esx2")


async def test_the_last_migration_is_found_wherever_the_vm_is_now(lab: Context) -> None:
    with pytest.raises(LabError, match="no host knows of a migration of web1"):
        await lab.act("migration")
    lab.agents["esx1"].task = {"id": "old", "started": 1.0}
    lab.agents["esx2"].task = {"id": "new", "started": 2.0}
    lab.agents["lone"].reachable = False
    assert (await lab.act("migration"))["id"] == "new"


async def test_labd_looks_at_the_vm_once_it_has_moved(lab: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for the migration; who uses the VM next finds it."""
    monkeypatch.setattr(module, "FOLLOW_INTERVAL", 0.0)
    lab.agents["esx1"].task = {"id": "m1", "started": 1.0, "state": "running"}
    await lab.act("migrate", to="esx2")

    async def asked() -> bool:
        return len(lab.agents["lone"].asked) > 1

    await wait_until(asked, 60)
    assert not lab.learnt.is_set()
    lab.agents["esx1"].task["state"] = "completed"
    async with asyncio.timeout(60):
        await lab.learnt.wait()


async def test_a_cancel_goes_to_the_vms_host(lab: Context) -> None:
    lab.agents["esx1"].task = {"id": "m1"}
    await lab.act("cancel-migration")
    assert lab.agents["esx1"].asked == [("DELETE", "/v1/vms/web1/migration", None)]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"type": "separate", "vms": ["web1", "db1"]}, 'rule "r" keeps it apart from db1, which is on esx2'),
        ({"type": "run-on", "hosts": ["esx1", "esx3"]}, 'rule "r" has it run on esx1, esx3'),
        ({"type": "not-on", "hosts": ["esx2"]}, 'rule "r" keeps it off esx2'),
    ],
)
async def test_a_rule_keeps_a_vm_from_a_host_and_a_wish_is_only_told(lab: Context, fields: Any, said: str) -> None:
    rule = {"name": "r", "vms": ["web1"], "hosts": [], "should": False, **fields}
    lab.rules = [rule]
    with pytest.raises(ConflictError, match=f"^web1 cannot be migrated to esx2: {said}$"):
        await lab.act("migrate", to="esx2")
    lab.rules = [{**rule, "should": True}]
    checks = (await lab.act("check-migration", to="esx2"))["checks"]
    found = [check for check in checks if check["name"] == "affinity"]
    assert found == [{"name": "affinity", "ok": True, "detail": f"{said}, and is a wish only"}]
    assert (await lab.act("migrate", to="esx2"))["state"] == "running"


async def test_a_vm_may_go_to_those_that_it_is_to_be_with(lab: Context) -> None:
    lab.rules = [{"name": "r", "type": "together", "vms": ["web1", "db1"], "hosts": [], "should": False}]
    checks = (await lab.act("check-migration", to="esx2"))["checks"]
    assert {"name": "affinity", "ok": True, "detail": 'rule "r" is kept'} in checks
    lab.vms = [_vm("web1", "esx1"), _vm("db1", "esx1")]
    with pytest.raises(ConflictError, match='rule "r" keeps it with db1, which is on esx1'):
        await lab.act("migrate", to="esx2")
