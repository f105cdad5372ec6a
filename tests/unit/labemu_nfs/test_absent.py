"""NFSv3 over a store that must first fetch what a call needs: the call waits, others do not, and nothing is done twice."""

from __future__ import annotations

from errno import EIO, ETIMEDOUT
from struct import pack

import pytest

from labemu_nfs.nfs3.status import Status
from labemu_nfs.xdr import opaque
from labemu_store.errors import AbsentError
from labemu_store.file import MemoryFileStore
from tests.unit.labemu_nfs.conftest import NUMBERS, parse, record


class FetchingStore(MemoryFileStore):
    """Reads and writes have something fetched first, so many times; `failure` is what fetching fails with."""

    def __init__(self, times: int = 1, failure: OSError | None = None) -> None:
        super().__init__()
        self.left, self.failure, self.writes = times, failure, 0

    def _fetch(self) -> None:
        self.left -= 1
        if self.failure is not None:
            raise self.failure

    def read(self, node, offset, size):
        if self.left:
            raise AbsentError(self._fetch)
        return super().read(node, offset, size)

    def write(self, node, offset, data):
        if self.left:
            raise AbsentError(self._fetch)
        self.writes += 1
        return super().write(node, offset, data)


@pytest.mark.parametrize("times", [1, 3])
def test_a_call_is_done_once_what_it_needs_is_here(make, times):
    client = make(FetchingStore(times))
    handle = client.create(b"f")
    assert client.write(handle, 0, b"hello").status == Status.OK
    client.export.store.left = times
    assert client.read(handle, 0, 10) == (b"hello", True)
    assert client.export.store.writes == 1


def test_calls_behind_it_do_not_wait_and_do_not_disturb_its_arguments(make):
    client = make(FetchingStore())
    handle = client.create(b"f")
    write = client.message(NUMBERS["WRITE"], opaque(handle) + pack(">QII", 0, 5, 0) + opaque(b"hello"))
    others = [client.message(NUMBERS["GETATTR"], opaque(client.root)) for _ in range(3)]
    replies = [parse(reply) for reply in client.exchange(b"".join(map(record, (write, *others))))]
    assert [reply.xid for reply in replies] == [client.xid - 2, client.xid - 1, client.xid, client.xid - 3]
    assert {reply.status for reply in replies} == {Status.OK}
    assert client.read(handle, 0, 10) == (b"hello", True)


@pytest.mark.parametrize(("code", "status"), [(ETIMEDOUT, Status.JUKEBOX), (EIO, Status.IO)])
def test_a_client_hears_whether_to_try_again(make, code, status):
    client = make(FetchingStore(failure=OSError(code, "no")))
    handle = client.create(b"f")
    assert client.write(handle, 0, b"hello").status == status
    assert client.export.store.writes == 0
