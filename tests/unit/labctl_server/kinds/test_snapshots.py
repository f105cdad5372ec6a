"""The tree of a VM's snapshots, and what is asked of whom to make, undo and delete one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from labctl.errors import ConflictError, LabError, NotRunningError, UsageError
from labctl.model.address import Address
from labctl.model.resource import Resource, Spec
from labctl.model.unit import RecordedUnit, Unit, UnitState
from labctl_server.kinds.snapshots import MOST, snapshot_actions

WEB1 = Address("vm", "web1")


class Lab:
    """A VM on esx1 with a LUN of san1 and a file; agents that note what they are asked, and fail where they are told to."""

    def __init__(self, tmp_path: Path) -> None:
        self.asked: list[str] = []
        self.refuses = ""
        self.power = "running"
        self.services = SimpleNamespace(
            agent=lambda node: SimpleNamespace(call=lambda *words, **_: self.call(node, *words)),
            lab=SimpleNamespace(directory=tmp_path),
            emit=lambda event, **_rest: None,
        )
        self.facts: dict[str, Any] = {}

    async def call(self, node: str, method: str, path: str, body: Any = None) -> Any:
        words = [method, path.removeprefix("/v1/vms/web1").removeprefix("/v1/datastores/").strip("/")]
        words += [body["action"]] if body and "action" in body else []
        said = " ".join([node, *filter(None, words)])
        if not said.endswith("exec"):
            self.asked.append(said)
        if self.refuses and self.refuses in said:
            raise LabError("it will not")
        return {"state": self.power, "size": 5}

    def units(self, _address: Address) -> list[RecordedUnit]:
        def unit(kind: str, name: str, spec: dict[str, Any], facts: Any = None) -> RecordedUnit:
            made = Unit(id=f"{kind}:{name}", type=kind, resource=WEB1, spec=spec)
            return RecordedUnit(unit=made, state=UnitState.CREATED, facts=facts or {})

        return [
            unit("volume", "a", {"array": "san1", "datastore": "gold", "name": "a", "lun": 0}),
            unit("volume", "b", {"array": "san1", "datastore": "nfs", "name": "b", "lun": None}),
            unit("vm", "web1", {"host": "esx1"}, self.facts),
        ]

    async def learn(self, _unit: str, facts: dict[str, Any]) -> None:
        self.facts = facts

    async def act(self, action: str, **arguments: Any) -> Any:
        self.asked.clear()
        vm = Resource(address=WEB1, spec=Spec(), table=())
        return await snapshot_actions()[action](self, vm, arguments)  # type: ignore[arg-type]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


async def test_all_disks_and_the_memory_are_kept_while_the_vm_is_held(lab: Lab) -> None:
    told = await lab.act("create-snapshot", snapshot="one", memory=True)
    assert lab.asked == [
        "esx1 GET",
        "esx1 POST hold",
        "san1 PUT gold/volumes/a/snapshots/one",
        "esx1 POST disk-snapshots create",
        "esx1 PUT memory",
        "esx1 DELETE hold",
    ]
    kept = told["snapshots"][0]
    assert (kept["name"], kept["parent"], kept["memory"], kept["disks"]) == ("one", None, 5, ["gold/a", "nfs/b"])
    assert told["current"] == "one"


@pytest.mark.parametrize(
    ("refuses", "undone"),
    [
        ("esx1 POST disk-snapshots create", ["san1 DELETE gold/volumes/a/snapshots/one"]),
        ("esx1 PUT memory", ["san1 DELETE gold/volumes/a/snapshots/one", "esx1 POST disk-snapshots delete"]),
        ("san1 PUT", []),
    ],
)
async def test_what_fails_in_part_is_undone_and_the_vm_runs_on(lab: Lab, refuses: str, undone: list[str]) -> None:
    lab.refuses = refuses
    with pytest.raises(LabError, match="it will not"):
        await lab.act("create-snapshot", snapshot="one", memory=True)
    assert [said for said in lab.asked if "DELETE gold" in said or said.endswith("delete")] == undone
    assert lab.asked[-1] == "esx1 DELETE hold"
    assert not lab.facts


async def test_a_tree_grows_from_where_the_vm_went_on(lab: Lab) -> None:
    for name in ("one", "two"):
        await lab.act("create-snapshot", snapshot=name)
    assert (await lab.act("revert-snapshot", snapshot="one"))["current"] == "one"
    assert lab.asked == [
        "esx1 POST stop",
        "san1 POST gold/volumes/a/snapshots/one/revert",
        "esx1 POST disk-snapshots revert",
    ]
    told = await lab.act("create-snapshot", snapshot="three")
    assert {each["name"]: each["parent"] for each in told["snapshots"]} == {"one": None, "two": "one", "three": "one"}
    told = await lab.act("delete-snapshot", snapshot="one")
    assert {each["name"]: each["parent"] for each in told["snapshots"]} == {"two": None, "three": None}
    assert (told["current"], (await lab.act("delete-snapshot", snapshot="three"))["current"]) == ("three", None)


async def test_a_chain_has_an_end(lab: Lab) -> None:
    for number in range(MOST):
        await lab.act("create-snapshot", snapshot=f"s{number}")
    with pytest.raises(ConflictError, match=f"web1 has {MOST} snapshots one upon the other") as caught:
        await lab.act("create-snapshot", snapshot="more")
    assert caught.value.hint == f"delete one: labctl vm snapshot delete web1 s{MOST - 1}"


async def test_what_is_asked_wrongly_is_told(lab: Lab) -> None:
    await lab.act("create-snapshot", snapshot="one")
    with pytest.raises(UsageError, match=r'"\.\./x" is no name for a snapshot'):
        await lab.act("create-snapshot", snapshot="../x")
    with pytest.raises(NotRunningError, match="web1 has no snapshot tow") as caught:
        await lab.act("delete-snapshot", snapshot="tow")
    assert caught.value.hint == "see which there are: labctl vm snapshot list web1"
    lab.facts["snapshots"]["kept"]["one"]["disks"] = ["gold/a", "gold/c"]
    with pytest.raises(ConflictError, match="web1 had other disks at one: gold/a, gold/c") as other:
        await lab.act("revert-snapshot", snapshot="one")
    assert other.value.hint == "give it these in the topology, and labctl up"
    assert not lab.asked
    lab.power = "off"
    with pytest.raises(ConflictError, match="web1 is powered off: it has no memory to keep"):
        await lab.act("create-snapshot", snapshot="two", memory=True)
