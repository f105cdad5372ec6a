"""Faults of NFSv4's operations: one of a COMPOUND fails or waits, the others are done as ever."""

from __future__ import annotations

from dataclasses import replace
from struct import pack

import pytest

from labemu_faults.action import Action, ActionKind
from labemu_faults.rule import Rule
from labemu_nfs.faults import Faults
from labemu_nfs.nfs4.constants import Attribute
from labemu_nfs.nfs4.faulty import faulty_procedures
from labemu_nfs.nfs4.ops.table import OPS
from labemu_nfs.nfs4.status import Status
from labemu_nfs.rpc.program import Hold
from labemu_nfs.xdr import opaque


def order(client4, kind: str, *, selectors: dict[str, object] | None = None, **action: object) -> Faults:
    faults = Faults()
    faults.table.add(Rule(id="1", action=Action(kind=ActionKind(kind), **action), **(selectors or {})))
    program = client4.server.programs[100003]
    fourth = faulty_procedures(client4.context, OPS, faults)
    client4.server.replace(replace(program, versions={**program.versions, 4: fourth}))
    return faults


def begin(client4, *operations: bytes):
    """Send a COMPOUND that is to wait."""
    client4.xid += 1
    arguments = opaque(b"") + pack(">II", 0, len(operations)) + b"".join(operations)
    message = pack(">6I", client4.xid, 0, 2, 100003, 4, 1) + client4.credential() + bytes(8) + arguments
    (pending,) = client4.engine.receive_data(pack(">I", 0x80000000 | len(message)) + message, 0.0)
    return sync(client4, pending)


def sync(client4, pending):
    """Run what waits for the disk, up to a Hold or the end."""
    while pending is not None and not isinstance(pending.job, Hold):
        pending.job.run()
        if client4.engine.complete(pending, None, 0.0):
            return None
    return pending


def answer(client4):
    return client4.parse(b"".join(client4.engine.data_to_send())[4:])


def test_one_operation_fails_and_those_before_it_are_answered(client4) -> None:
    faults = order(client4, "error", code=(10008,), selectors={"operations": ("getattr",), "count": 1})
    reply = client4.send(*client4.at("gold"), client4.ops.getattr(Attribute.TYPE))
    assert (reply.status, reply.count) == (Status.DELAY, 3)
    assert client4.number("gold", Attribute.TYPE) == 2
    assert next(iter(faults.table)).hits == 1


def test_a_file_is_selected_by_its_path_and_by_a_name_in_its_directory(client4) -> None:
    order(client4, "error", code=(5,), selectors={"operations": ("getattr", "remove"), "path": "/gold/fi*"})
    assert client4.status(*client4.at("gold/file"), client4.ops.getattr(Attribute.TYPE)) == Status.IO
    assert client4.status(*client4.at("gold"), client4.ops.remove(b"file")) == Status.IO
    assert client4.status(*client4.at("gold/dir"), client4.ops.getattr(Attribute.TYPE)) == Status.OK


def test_a_status_that_version_4_does_not_have_becomes_one_that_it_has(client4) -> None:
    order(client4, "error", code=(71,), selectors={"operations": ("access",)})
    assert client4.status(*client4.at("gold"), client4.ops.access(1)) == Status.SERVERFAULT


def test_read_only_refuses_changes_alone(client4) -> None:
    order(client4, "readonly")
    assert client4.status(*client4.at("gold"), client4.ops.remove(b"file")) == Status.ROFS
    assert client4.status(*client4.at("gold/file"), client4.ops.read(0, 8)) == Status.OK


def test_a_compound_waits_in_the_middle_and_goes_on_with_its_own_arguments(client4) -> None:
    ops = client4.ops
    order(client4, "latency", average=0.5, selectors={"operations": ("write",)})
    pending = begin(client4, *client4.at("gold/file"), ops.write(0, b"changed!"), ops.read(0, 8))
    assert pending.job.delay == 0.5
    assert client4.status(*client4.at("gold/dir"), ops.getattr(Attribute.TYPE)) == Status.OK  # the buffer is used again
    job = client4.engine.resume(pending)
    assert job == [client4.engine]
    reply = answer(client4)
    assert (reply.status, reply.count) == (Status.OK, 5)
    again = client4.send(*client4.at("gold/file"), ops.read(0, 8))
    again.skip(0, 0, 0).u32()
    assert again.results.string(8) == b"changed!"


def test_a_rate_counts_the_bytes_of_reads_and_writes(client4) -> None:
    order(client4, "rate", rate=8)
    assert begin(client4, *client4.at("gold/file"), client4.ops.read(0, 16)).job.delay == 2.0
    assert begin(client4, *client4.at("gold/file"), client4.ops.write(0, b"12345678")).job.delay == 3.0


def test_a_paused_compound_waits_at_the_gate(client4) -> None:
    faults = order(client4, "pause", selectors={"operations": ("remove",)})
    pending = begin(client4, *client4.at("gold"), client4.ops.remove(b"file"))
    assert not pending.job.gate.is_open
    faults.table.clear("1")
    assert pending.job.gate.is_open
    assert sync(client4, client4.engine.resume(pending)) is None
    assert answer(client4).status == Status.OK
    assert client4.status(*client4.at("gold/file")) == Status.NOENT


@pytest.mark.parametrize("kind", ["silence", "drop"])
def test_a_lost_reply_is_of_a_compound_that_was_done(client4, kind) -> None:
    order(client4, kind, selectors={"operations": ("remove",), "count": 1})
    pending = begin(client4, *client4.at("gold"), client4.ops.remove(b"file"))
    assert pending.job.silent
    assert (pending.job.gate is None) is (kind == "drop")
    assert client4.status(*client4.at("gold/file")) == Status.NOENT
