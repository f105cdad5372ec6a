"""Two clients change one tree of names in any order: each answer is what one model of the tree says at that moment."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from labemu_nfs.context import Context
from labemu_nfs.exports import Export, ExportTable
from labemu_nfs.handles import Handles
from labemu_nfs.nfs3.program import nfs_program
from labemu_nfs.nfs4.constants import Attribute
from labemu_nfs.nfs4.context import Context4
from labemu_nfs.nfs4.ops.table import OPS
from labemu_nfs.nfs4.program import nfs4_procedures
from labemu_nfs.nfs4.state.service import NfsState
from labemu_nfs.nfs4.status import Status
from labemu_nfs.rpc.server import RpcServer
from labemu_store.file import MemoryFileStore

from .conftest import Client4, Ops

NAMES = some.sampled_from([b"a", b"b", b"c"])
DIRECTORIES = some.sampled_from([b"", b"a", b"b"])
WHO = some.integers(0, 1)


class Tree(RuleBasedStateMachine):
    """The model: by directory, the names in it; a directory's value is None, a symlink's is a mark that its hard links share."""

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryFileStore()
        table = ExportTable()
        export = Export(path="/gold", store=self.store)
        table.add(export)
        shared = Context(table, Handles(bytes(32)), b"verifier")
        context = Context4(shared, NfsState(7, 0.0), lambda: 1000.0)
        server = RpcServer((nfs_program(shared, nfs4_procedures(context, OPS)),))
        self.clients = [Client4(server, context, {"/gold": export}, address=f"10.0.0.{at}") for at in (2, 3)]
        self.model: dict[bytes, dict[bytes, int | None]] = {b"": {}}
        self.changes: dict[bytes, int] = {}
        self.marks = 0
        for name in (b"a", b"b"):
            self.mkdir(0, name)
        for directory, name in ((b"", b"c"), (b"a", b"a"), (b"a", b"b"), (b"b", b"c")):
            self.symlink(1, directory, name)

    def teardown(self) -> None:
        self.store.close()

    def at(self, who: int, directory: bytes) -> tuple[bytes, ...]:
        return self.clients[who].at("gold/" + directory.decode())

    def missing(self, directory: bytes) -> Status | None:
        """Why a directory of the model cannot be one."""
        if directory in self.model:
            return None
        return Status.NOENT if directory not in self.model[b""] else Status.NOTDIR

    def do(self, who: int, directory: bytes, operation: bytes, expected: Status) -> None:
        assert self.clients[who].status(*self.at(who, directory), operation) == (self.missing(directory) or expected)

    @rule(who=WHO, name=NAMES)
    def mkdir(self, who: int, name: bytes) -> None:
        taken = name in self.model[b""]
        self.do(who, b"", Ops.mkdir(name), Status.EXIST if taken else Status.OK)
        if not taken:
            self.model[b""][name] = None
            self.model[name] = {}

    @rule(who=WHO, directory=DIRECTORIES, name=NAMES)
    def symlink(self, who: int, directory: bytes, name: bytes) -> None:
        taken = name in self.model.get(directory, {})
        self.marks += 1
        self.do(who, directory, Ops.symlink(name, b"%d" % self.marks), Status.EXIST if taken else Status.OK)
        if directory in self.model and not taken:
            self.model[directory][name] = self.marks

    @rule(who=WHO, directory=DIRECTORIES, name=NAMES)
    def remove(self, who: int, directory: bytes, name: bytes) -> None:
        names = self.model.get(directory, {})
        expected = Status.OK if name in names else Status.NOENT
        if name in names and names[name] is None and self.model[name]:
            expected = Status.NOTEMPTY
        self.do(who, directory, Ops.remove(name), expected)
        if directory in self.model and expected == Status.OK and names.pop(name) is None:
            del self.model[name]
            self.changes.pop(name, None)

    @rule(who=WHO, source=DIRECTORIES, name=NAMES, into=DIRECTORIES, to=NAMES)
    def rename_a_link(self, who: int, source: bytes, name: bytes, into: bytes, to: bytes) -> None:
        if self.missing(source) or self.missing(into) or self.model[source].get(name, 0) is None:
            return
        there = self.model[into].get(to, 0)
        expected = Status.NOENT if name not in self.model[source] else Status.EXIST if there is None else Status.OK
        operations = (*self.at(who, source), Ops.SAVEFH, *self.at(who, into), Ops.rename(name, to))
        assert self.clients[who].status(*operations) == expected
        if expected == Status.OK and self.model[source][name] != there:
            self.model[into][to] = self.model[source].pop(name)

    @rule(who=WHO, source=DIRECTORIES, name=NAMES, into=DIRECTORIES, to=NAMES)
    def link(self, who: int, source: bytes, name: bytes, into: bytes, to: bytes) -> None:
        if self.missing(source) or self.missing(into) or self.model[source].get(name) is None:
            return
        path = (source + b"/" + name).decode()
        operations = (*self.clients[who].at("gold/" + path), Ops.SAVEFH, *self.at(who, into), Ops.link(to))
        taken = to in self.model[into]
        assert self.clients[who].status(*operations) == (Status.EXIST if taken else Status.OK)
        if not taken:
            self.model[into][to] = self.model[source][name]

    @invariant()
    def both_clients_see_the_model(self) -> None:
        for directory, names in self.model.items():
            path = "gold/" + directory.decode()
            seen = [{name for name, _, _ in client.listing(path)} for client in self.clients]
            assert seen == [set(names)] * 2
            changes = {client.number(path, Attribute.CHANGE) for client in self.clients}
            assert len(changes) == 1
            (change,) = changes
            assert change >= self.changes.get(directory, 0), "a change attribute never goes back"
            self.changes[directory] = change
            for name, mark in names.items():
                if mark is not None:
                    links = sum(list(each.values()).count(mark) for each in self.model.values())
                    assert self.clients[0].number(f"{path}/{name.decode()}", Attribute.NUMLINKS) == links


Tree.TestCase.settings = settings(
    max_examples=50,
    stateful_step_count=30,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking would start servers for minutes
    suppress_health_check=[HealthCheck.too_slow],
)
TestTree = Tree.TestCase
