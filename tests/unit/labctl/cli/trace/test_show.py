"""`labctl trace show`: one command, whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from labctl.cli.trace.show import app
from labctl.errors import UsageError
from labctl.trace.reader import Trace

CAPTURES = Path(__file__).parents[4] / "captures"
ISCSI, NFS3, NFS41, TGT = (
    str(CAPTURES / f"{name}.pcapng.zst")
    for name in ("linux-iscsi-digests", "linux-nfs3", "linux-nfs4.1", "tgt-libiscsi")
)


def run(*words: str) -> str:
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_scsi_command_has_its_pdus_its_cdb_and_its_bytes() -> None:
    said = run(ISCSI, "--id", "30")
    assert said.startswith("command 30: READ CAPACITY(16) LUN 0\n10.77.0.11:")
    for part in (
        "-> SCSI Command, 52 bytes, frame 87, after 0 ns",
        "<- Data-In, 88 bytes, frame 88, after 176 us",
        "allocation_length= 32",
        "header_digest= 0xa683b843",
        "0020  9e 10 00 00",
    ):
        assert part in said
    assert max(map(len, said.splitlines())) <= 121


def test_what_a_scsi_command_gets_and_its_sense_are_shown_by_their_fields() -> None:
    ids = {command.operation: command.id for command in Trace(TGT)}
    said = run(TGT, "--id", str(ids["EXTENDED COPY(LID1)"]))
    for part in (
        "EXTENDED COPY(LID1) parameter list",
        "segment descriptor, block to block",
        "sense data, fixed format",
    ):
        assert f"###[ {part} ]###" in said
    assert "key       = ILLEGAL REQUEST" in said
    said = run(TGT, "--id", str(ids["PERSISTENT RESERVE IN READ KEYS"]))
    assert "###[ READ KEYS data ]###" in said
    assert "standard INQUIRY data" in run(
        TGT, "--id", str(next(id_ for name, id_ in first(TGT).items() if name == "INQUIRY"))
    )


def first(file: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for command in Trace(file):
        found.setdefault(command.operation, command.id)
    return found


def test_an_rpc_call_is_shown_down_to_its_procedure() -> None:
    said = run(NFS3, "--id", "20")
    assert "WRITE Call" in said
    assert "WRITE Reply" in said
    assert "offset    = 65536" in said
    told = json.loads(run(NFS3, "--id", "20", "--json"))
    assert told["command"]["operation"] == "WRITE"
    assert [message["kind"] for message in told["messages"]] == ["CALL", "REPLY"]
    assert told["messages"][0]["layers"][-1]["name"] == "WRITE Call"
    assert told["messages"][0]["layers"][-1]["fields"]["offset"] == 65536


def test_a_compound_is_shown_operation_by_operation() -> None:
    (first, *_) = [command.id for command in Trace(NFS41) if command.operation == "OPEN"]
    said = run(NFS41, "--id", str(first))
    for part in (
        "###[ OPEN4args ]###",
        "claim     = CLAIM_NULL",
        "file      = b'small'",
        "###[ OPEN4res ]###",
        "###[ fileid ]###",
    ):
        assert part in said
    told = json.loads(run(NFS41, "--id", str(first), "--json"))
    call, reply = (message["layers"][-1] for message in told["messages"])
    assert [each["name"] for each in call["fields"]["argarray"]][:2] == ["SEQUENCE4args", "PUTFH4args"]
    result = next(each["fields"] for each in reply["fields"]["resarray"] if each["name"] == "OPEN4res")
    assert (result["status"], result["cinfo_atomic"], len(result["stateid_other"])) == (0, 1, 24)
    assert "file" not in result


def test_a_number_that_there_is_none_of() -> None:
    with pytest.raises(UsageError, match="has no command 9999") as caught:
        run(NFS3, "--id", "9999")
    assert "it has 101" in str(caught.value.hint)
