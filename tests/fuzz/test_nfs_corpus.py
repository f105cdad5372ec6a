"""Every input that the fuzzer found worth keeping: nothing is raised but what ends the connection, and every call is answered."""

from __future__ import annotations

from tests.fuzz import nfs_input

INPUTS = sorted(nfs_input.CORPUS.iterdir())


def test_there_is_a_corpus() -> None:
    assert len(INPUTS) > 40


def test_no_input_of_the_corpus_breaks_the_engine() -> None:
    for path in INPUTS:
        data = path.read_bytes()
        modes = {data[0], nfs_input.STREAM, 7, 8} if data else set()
        for mode in modes:
            nfs_input.one_input(bytes((mode,)) + data[1:])


def test_the_session_of_the_fuzzer_is_a_real_one() -> None:
    """Otherwise all that lies behind SEQUENCE would never be reached."""
    answers: list[bytes] = []
    call = nfs_input._call
    nfs_input._call = lambda *arguments: answers.append(call(*arguments)) or answers[-1]
    try:
        nfs_input.one_input(bytes((7,)) + bytes((10, 0)))  # 4.1, the file, GETFH
    finally:
        nfs_input._call = call
    assert all(answer[28:32] == bytes(4) for answer in answers)
    assert answers[-1] == answers[-2], "sent again, it is answered from the slot"
