"""Real clients that prove who they are, and who check what travels: CHAP, mutual CHAP and digests with libiscsi and QEMU."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

USER, SECRET = "me", "secretsecret1"
MUTUAL = "target_user=box&target_password=othersecret12"


@pytest.fixture
def guarded(target_process: Any, tmp_path: Path) -> Iterator[Any]:
    """A target that asks for CHAP, and proves itself when asked."""
    secrets = tmp_path / "chap"
    secrets.write_text(f"{USER}:{SECRET}\nbox:othersecret12\n")
    process = target_process("--chap-file", str(secrets))
    process.start()
    yield process
    assert process.stop() == 0


def _run(*command: str) -> tuple[int, str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def _url(target: Any, *, user: str = USER, secret: str = SECRET, query: str = "") -> str:
    return target.url().replace("iscsi://", f"iscsi://{user}%{secret}@") + (f"?{query}" if query else "")


@pytest.mark.needs("libiscsi")
@pytest.mark.parametrize("query", ["", MUTUAL], ids=["one way", "mutual"])
def test_libiscsi_logs_in_by_chap(guarded: Any, query: str) -> None:
    code, output = _run("iscsi-inq", _url(guarded, query=query))
    assert code == 0, output
    assert "Vendor:LABCTL" in output


@pytest.mark.needs("libiscsi")
@pytest.mark.parametrize("who", [{"secret": "wrongsecret12"}, {"user": "you"}])
def test_libiscsi_is_kept_out_with_a_wrong_name_or_secret(guarded: Any, who: dict[str, str]) -> None:
    code, output = _run("iscsi-inq", _url(guarded, **who))
    assert code != 0
    assert "Authentication" in output


@pytest.mark.needs("libiscsi")
def test_libiscsi_keeps_away_from_a_target_that_cannot_prove_itself(guarded: Any) -> None:
    code, output = _run("iscsi-inq", _url(guarded, query=MUTUAL.replace("othersecret12", "anothersecret")))
    assert code != 0, output


@pytest.mark.needs("libiscsi")
def test_nobody_comes_in_without_a_secret(guarded: Any) -> None:
    code, output = _run("iscsi-inq", guarded.url())
    assert code != 0
    assert "Authentication" in output


@pytest.mark.needs("libiscsi")
@pytest.mark.parametrize("digest", ["none", "crc32c"])
def test_libiscsi_passes_its_reads_and_writes_with_header_digests(target: Any, digest: str) -> None:
    url = f"{target.url()}?header_digest={digest}"
    code, output = _run("iscsi-test-cu", "--dataloss", "--normal", "-t", "SCSI.Read10,SCSI.Write10", url)
    assert code == 0, output
    assert "[FAILED]" not in output


def _image(target: Any, **options: str) -> str:
    fields = {
        "driver": "iscsi",
        "transport": "tcp",
        "portal": f"127.0.0.1:{target.port}",
        "target": "iqn.2026-11.lab:t1",
        "lun": "0",
        **options,
    }
    return ",".join(f"{name}={value}" for name, value in fields.items())


@pytest.mark.needs("qemu-img", "qemu-iscsi")
@pytest.mark.parametrize("digest", ["none", "crc32c", "crc32c-none"])
def test_qemu_writes_and_reads_with_chap_and_header_digests(guarded: Any, digest: str) -> None:
    options = {"user": USER, "password-secret": "chap", "header-digest": digest}
    code, output = _run(
        "qemu-io",
        "--object",
        f"secret,id=chap,data={SECRET}",
        "-c",
        "write -P 7 0 1M",
        "-c",
        "read -P 7 0 1M",
        "--image-opts",
        _image(guarded, **options),
    )
    assert code == 0, output
    assert "read 1048576/1048576" in output
    assert "Pattern verification failed" not in output


@pytest.mark.needs("qemu-img", "qemu-iscsi")
def test_qemu_is_kept_out_with_a_wrong_secret(guarded: Any) -> None:
    options = {"user": USER, "password-secret": "chap"}
    secret = "secret,id=chap,data=wrongsecret12"
    code, output = _run("qemu-img", "info", "--object", secret, "--image-opts", _image(guarded, **options))
    assert code != 0
    assert "Failed to connect to LUN" in output


def test_the_same_secret_for_both_directions_is_refused_in_words(target_process: Any, tmp_path: Path) -> None:
    secrets = tmp_path / "chap"
    secrets.write_text("me:secretsecret1\nbox:secretsecret1\n")
    code, output = _run(*target_process("--chap-file", str(secrets)).command)
    assert code == 2
    assert "each direction wants a secret of its own" in output
    assert "hint: give the target on the second line another one" in output
