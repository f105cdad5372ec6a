"""NFSv4 over a store that must first fetch what an operation needs: the COMPOUND is suspended there and goes on."""

from __future__ import annotations

from errno import EIO, ETIMEDOUT

import pytest

from labemu_nfs.nfs4.status import Status
from labemu_store.errors import AbsentError


def absent(client4, monkeypatch, times: int, failure: OSError | None = None) -> list[int]:
    """Let reads of every store have something fetched first; counts the fetches."""
    fetched: list[int] = []
    for export in client4.context.shared.exports:
        real = export.store.read

        def read(node, offset, size, real=real):
            def fetch():
                fetched.append(1)
                if failure is not None:
                    raise failure

            if len(fetched) < times:
                raise AbsentError(fetch)
            return real(node, offset, size)

        monkeypatch.setattr(export.store, "read", read)
    return fetched


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("times", [1, 2])
def test_the_compound_goes_on_where_it_was(make4, monkeypatch, times, quick):
    client4 = make4(quick=quick)
    client4.tree()
    ops = client4.ops
    before = client4.send(*client4.at("gold/file"), ops.read(0, 100), ops.GETFH, ops.getattr(3))
    fetched = absent(client4, monkeypatch, times)
    reads = client4.context.operations["READ"]
    after = client4.send(*client4.at("gold/file"), ops.read(0, 100), ops.GETFH, ops.getattr(3))
    assert len(fetched) == times
    assert bytes(after.results.view)[4:] == bytes(before.results.view)[4:], "all but the xid"
    assert client4.context.operations["READ"] == reads + 1, "counted once"


@pytest.mark.parametrize(("code", "status"), [(ETIMEDOUT, Status.DELAY), (EIO, Status.IO)])
def test_a_client_hears_whether_to_try_again(make4, monkeypatch, code, status):
    client4 = make4()
    client4.tree()
    absent(client4, monkeypatch, 1, OSError(code, "no"))
    assert client4.status(*client4.at("gold/file"), client4.ops.read(0, 100)) == status
