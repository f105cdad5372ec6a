"""`labctl trace waterfall`, `ladder` and `diff` on captures of Linux's own clients."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image
from typer.testing import CliRunner

from labctl.cli.trace.diff import app as diff_app
from labctl.cli.trace.ladder import app as ladder_app
from labctl.cli.trace.plot import app as plot_app
from labctl.cli.trace.waterfall import app as waterfall_app
from labctl.errors import LabError, UsageError

CAPTURES = Path(__file__).parents[4] / "captures"
ISCSI, NFS40, NFS42 = (
    str(CAPTURES / f"{name}.pcapng.zst") for name in ("linux-iscsi-digests", "linux-nfs4.0", "linux-nfs4.2")
)


def run(app, *words: str) -> str:  # type: ignore[no-untyped-def]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_ladder_of_a_login(tmp_path: Path) -> None:
    lines = run(ladder_app, ISCSI, "--session", "2", "--count", "4").splitlines()
    assert lines[0].split()[1] == "10.77.0.1:3260"
    assert sum("LOGIN" in line for line in lines) == 4  # CHAP takes three steps, and the operational stage one
    run(ladder_app, ISCSI, "--svg", str(tmp_path / "a.svg"))
    assert ElementTree.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")


def test_a_ladder_of_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no session 9") as caught:
        run(ladder_app, ISCSI, "--session", "9")
    assert caught.value.hint == "it has 2, from 1"
    with pytest.raises(UsageError, match="session 1 has 2 commands"):
        run(ladder_app, ISCSI, "--from", "99")
    with pytest.raises(LabError, match="cannot write"):
        run(ladder_app, ISCSI, "--svg", str(tmp_path / "none" / "a.svg"))


def test_a_waterfall_without_stages_says_how_to_have_them() -> None:
    said = run(waterfall_app, ISCSI, "--id", "30")
    assert said.startswith("command 30: READ CAPACITY(16) LUN 0\n176 us, GOOD\n")
    assert "record with --stages" in said
    assert json.loads(run(waterfall_app, ISCSI, "--id", "30", "--json"))["operation"] == "READ CAPACITY(16)"
    with pytest.raises(UsageError, match="has no command 9999"):
        run(waterfall_app, ISCSI, "--id", "9999")


def test_a_comparison_of_two_captures() -> None:
    lines = run(diff_app, NFS40, NFS42).splitlines()
    assert "p50 ratio" in lines[0]
    (made,) = [line for line in lines if " CREATE_SESSION " in line]
    assert "0 -> 1" in made
    told = json.loads(run(diff_app, NFS40, NFS42, "--json"))
    assert {row["operation"] for row in told if not row["after"]["count"]} >= {"SETCLIENTID", "OPEN_CONFIRM"}


def test_a_plot_is_a_page_or_a_drawing(tmp_path: Path) -> None:
    run(plot_app, NFS42, "-o", str(tmp_path / "a.html"))
    assert "Offset on /gold/dir/large" in (tmp_path / "a.html").read_text()
    run(plot_app, NFS42, "--op", "READ", "-o", str(tmp_path / "a.svg"))
    assert ElementTree.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")
    run(plot_app, NFS42, "-o", str(tmp_path / "a.png"))
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "PNG"
        assert len(image.getcolors(maxcolors=1 << 20) or ()) > 10
    with pytest.raises(UsageError, match="what kind of picture"):
        run(plot_app, NFS42, "-o", str(tmp_path / "a.gif"))
    with pytest.raises(UsageError, match="has no such commands"):
        run(plot_app, NFS42, "--vm", "web1", "-o", str(tmp_path / "b.svg"))
    with pytest.raises(LabError, match="cannot write"):
        run(plot_app, NFS42, "-o", str(tmp_path / "none" / "a.svg"))
