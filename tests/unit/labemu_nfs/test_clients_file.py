"""What NFSv4's state keeps across restarts, and connections to clients."""

from __future__ import annotations

import asyncio

import pytest

from labemu_nfs.errors import ConfigurationError
from labemu_nfs.io.clients import CallbackDialer, ClientsFile


def test_names_come_back_and_each_start_has_a_number_of_its_own(tmp_path):
    first = ClientsFile(tmp_path)
    first.save({(0, b"one\xff"), (1, b"two")})
    second = ClientsFile(tmp_path)
    assert second.load() == {(0, b"one\xff"), (1, b"two")}
    assert ClientsFile(tmp_path).boot == second.boot + 1 == first.boot + 2


@pytest.mark.parametrize("damage", ["", "[]", '{"boot": 1}', '{"boot": 1, "clients": [[0, "zz"]]}'])
def test_a_damaged_file_is_named_with_what_to_do(tmp_path, damage):
    (tmp_path / "nfs4-clients.json").write_text(damage)
    with pytest.raises(ConfigurationError, match=r"nfs4-clients\.json is damaged") as caught:
        ClientsFile(tmp_path)
    assert caught.value.hint == "Remove it; clients of NFSv4 will lose their opens and locks at this start."


async def test_a_client_that_cannot_be_reached_is_known_to_be_silent():
    answers = []
    told = asyncio.Event()
    dialer = CallbackDialer(("127.0.0.1",), lambda sock, engine: True)
    link = dialer.dial("127.0.0.1", 1)
    link.call(b"call", lambda reply: (answers.append(reply), told.set()))
    await asyncio.wait_for(told.wait(), 5)
    assert answers == [None]
    assert not link.open
    await dialer.close()


async def test_a_connection_that_is_made_carries_the_calls_that_waited():
    adopted = []
    done = asyncio.Event()

    def adopt(sock, engine):
        adopted.append(b"".join(engine.data_to_send()))
        sock.close()
        done.set()
        return True

    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    dialer = CallbackDialer(("127.0.0.1",), adopt)
    dialer.dial("127.0.0.1", server.sockets[0].getsockname()[1]).call(b"wait", lambda reply: None)
    await asyncio.wait_for(done.wait(), 5)
    assert adopted[0].endswith(b"wait")
    await dialer.close()
    server.close()
    await server.wait_closed()
