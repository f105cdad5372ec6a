"""Portal groups, access lists and redirection: what a login and discovery see at which portal."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from labemu_iscsi.connection import TargetConnection
from labemu_iscsi.io.server import IscsiServer, ServerConfigError, parse_networks
from labemu_iscsi.node import Node
from labemu_iscsi.session import Target
from labemu_scsi.nexus import ACCESS_STATE_CHANGED
from labemu_scsi.ports import AccessState
from labemu_scsi.unit import LogicalUnit
from labemu_store.block import MemoryBlockStore

TARGET, SECOND = "iqn.2026-11.lab:t1", "iqn.2026-11.lab:t2"
ONE, TWO = "10.0.0.1:3260", "10.0.1.1:3260"
INITIATOR = "iqn.2026-11.lab:i1"
PEER = "10.0.0.9:40000"


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node(entropy=bytes)
    node.portals = [ONE, TWO]
    node.tags = {ONE: 1, TWO: 2}
    store = MemoryBlockStore(1 << 20)
    unit = LogicalUnit(store, serial="u")
    for name, tags in ((TARGET, (1, 2)), (SECOND, (2,))):
        target = Target(name=name, tags=tags, first_port=node.free_ports(len(tags)))
        target.device.add_unit(0, unit)
        node.targets[name] = target
    yield node
    store.close()


@pytest.fixture
def connect(node: Node) -> Callable[..., TargetConnection]:
    def connect(portal: str, name: str = TARGET, *, peer: str = PEER, kind: str = "Normal") -> Any:
        from labemu_iscsi.negotiation import format_text
        from labemu_iscsi.pdu import LoginRequest

        connection = TargetConnection(node, peer=peer, portal=portal)
        pairs = [("InitiatorName", INITIATOR), ("SessionType", kind)]
        if kind == "Normal":
            pairs.append(("TargetName", name))
        request = LoginRequest(immediate=True, flags=0x87, lun=b"\x80\0\0\0\0\1\0\0", cmd_sn=1)
        connection.receive_data(request.encode(format_text(pairs)))
        answer = b"".join(map(bytes, connection.data_to_send()))
        return connection, struct.unpack_from(">BB", answer, 36), answer[48:]

    return connect


def test_a_login_belongs_to_the_group_of_its_portal(connect: Callable[..., Any], node: Node) -> None:
    for portal, tag in ((ONE, 1), (TWO, 2)):
        connection, status, text = connect(portal)
        assert status == (0, 0)
        assert b"TargetPortalGroupTag=%d\0" % tag in text
        nexus = connection.session.nexus
        assert (nexus.target_port, nexus.relative_port) == (f"{TARGET},t,0x{tag:04x}", tag)
        assert nexus.group is node.targets[TARGET].groups[tag]


def test_the_same_isid_at_another_group_is_another_session(connect: Callable[..., Any], node: Node) -> None:
    connect(ONE)
    connect(TWO)
    assert len(node.targets[TARGET].sessions) == 2
    connect(TWO)
    assert len(node.targets[TARGET].sessions) == 2


def test_ports_of_all_targets_are_told_apart(node: Node) -> None:
    assert sorted(node.targets[TARGET].device.units[0].groups()) == [1, 2, 3]
    del node.targets[TARGET]
    assert node.free_ports(2) == 1
    assert node.free_ports(3) == 4


def test_a_target_is_not_found_where_it_has_no_group(connect: Callable[..., Any]) -> None:
    assert connect(ONE, SECOND)[1] == (2, 3)
    assert connect(TWO, SECOND)[1] == (0, 0)


def test_a_portal_that_listens_everywhere_gives_its_tag(node: Node) -> None:
    node.tags = {"0.0.0.0:3260": 2, "[::]:3261": 3}
    assert [node.tag_at(each) for each in ("10.9.9.9:3260", "[fd00::1]:3261", "10.9.9.9:1")] == [2, 3, 1]


def test_discovery_lists_the_groups_and_hides_what_may_not_be_seen(connect: Callable[..., Any], node: Node) -> None:
    def discover(portal: str) -> list[tuple[str, str]]:
        connection, *_ = connect(portal, kind="Discovery")
        return list(connection.text._send_targets("All", connection.session))

    first = [("TargetName", TARGET), ("TargetAddress", f"{ONE},1"), ("TargetAddress", f"{TWO},2")]
    assert discover(ONE) == first
    assert discover(TWO) == [*first, ("TargetName", SECOND), ("TargetAddress", f"{TWO},2")]
    node.targets[TARGET].networks = parse_networks(["192.0.2.0/24"])
    assert discover(ONE) == []
    node.targets[TARGET].networks = parse_networks(["10.0.0.9"])
    node.targets[TARGET].initiators = frozenset(("iqn.2026-11.lab:other",))
    assert discover(ONE) == []


@pytest.mark.parametrize(
    ("peer", "status"), [("10.0.0.9:1", (0, 0)), ("[::ffff:10.0.0.9]:1", (0, 0)), ("10.0.1.9:1", (2, 2)), ("", (2, 2))]
)
def test_who_comes_from_elsewhere_is_refused(
    connect: Callable[..., Any], node: Node, peer: str, status: tuple[int, int]
) -> None:
    node.targets[TARGET].networks = parse_networks(["10.0.0.0/24"])
    assert connect(ONE, peer=peer)[1] == status


def test_a_redirected_login_is_told_where_to_go(connect: Callable[..., Any], node: Node) -> None:
    node.targets[TARGET].redirect = "10.0.2.1:3260"
    _, status, text = connect(ONE)
    assert status == (1, 1)
    assert text.startswith(b"TargetAddress=10.0.2.1:3260\0")


def test_a_state_set_at_the_server_is_told_through_every_target(connect: Callable[..., Any], node: Node) -> None:
    server = IscsiServer([("127.0.0.1", 0), ("127.0.0.1", 0)], tags=[1, 2])
    server._node.targets.update(node.targets)
    unit = node.targets[TARGET].device.units[0]
    nexuses = [connect(ONE)[0].session.nexus, connect(TWO, SECOND)[0].session.nexus]
    for nexus in nexuses:
        unit.attentions.take(nexus)
    assert unit.attentions.quiet == set(nexuses)
    server.set_access_state(TARGET, 1, AccessState.STANDBY)
    assert [unit.attentions.take(nexus) for nexus in nexuses] == [ACCESS_STATE_CHANGED] * 2
    assert unit.attentions.quiet == {nexuses[1]}


def test_withdrawn_access_ends_sessions(connect: Callable[..., Any], node: Node) -> None:
    server = IscsiServer([("127.0.0.1", 0)])
    server._node = node
    connection, *_ = connect(ONE)
    server.set_access(TARGET, initiators=[INITIATOR])
    assert not connection.closed
    server.set_access(TARGET, initiators=["iqn.2026-11.lab:other"])
    assert connection.closed
    assert not node.targets[TARGET].sessions


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: parse_networks(["10.0.0.1/24"]), "10.0.0.1/24 has host bits set"),
        (lambda: IscsiServer([("127.0.0.1", 0)], tags=[0]), "a portal group tag is between 1 and 65535"),
        (
            lambda: IscsiServer([("127.0.0.1", 0)]).add_target(TARGET, groups=[2]),
            rf"{TARGET}: no portal is in group \[2\]",
        ),
    ],
)
def test_a_wrong_topology_says_what_is_wrong(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ServerConfigError, match=message):
        make()
