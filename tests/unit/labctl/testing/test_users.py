import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from labctl.testing import users
from labctl.testing.users import OrdinaryUser


def test_the_user_has_no_rights_and_a_home(ordinary_user: OrdinaryUser) -> None:
    shown = ordinary_user.run(
        ["sh", "-c", "id -u; id -G; pwd; echo $HOME; grep CapEff /proc/self/status; touch mine"]
    ).stdout
    assert shown.split() == [
        str(ordinary_user.uid),
        str(ordinary_user.uid),
        str(ordinary_user.home),
        str(ordinary_user.home),
        "CapEff:",
        "0" * 16,
    ]
    assert (ordinary_user.home / "mine").stat().st_uid == ordinary_user.uid


def test_the_user_can_run_the_checkouts_python_at_its_own_path(ordinary_user: OrdinaryUser) -> None:
    shown = ordinary_user.run(
        [sys.executable, "-c", "import labctl, sys; print(sys.executable, labctl.__file__)"]
    ).stdout
    import labctl

    assert shown.split() == [sys.executable, labctl.__file__]


@pytest.mark.needs("userns")
def test_the_user_can_make_a_user_namespace(ordinary_user: OrdinaryUser) -> None:
    assert ordinary_user.run(["unshare", "-Urnm", "id", "-u"]).stdout.strip() == "0"


def test_a_command_that_fails_shows_what_it_wrote(ordinary_user: OrdinaryUser) -> None:
    with pytest.raises(AssertionError, match="ended with 3:\nno way"):
        ordinary_user.run(["sh", "-c", "echo no way; exit 3"])


@pytest.fixture
def closed(unique: str) -> Iterator[Path]:
    """A folder that only root may enter, with a checkout and a secret."""
    with tempfile.TemporaryDirectory(prefix=unique, dir="/var/tmp") as made:
        folder = Path(made)
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "src" / "checkout").mkdir(parents=True)
        (folder / "src" / "checkout" / "file").write_text("read me")
        (folder / "secret").write_text("not for you")
        yield folder


@pytest.mark.needs("root", "mounts")
def test_a_checkout_below_a_folder_of_roots_is_readable_and_nothing_else_there(closed: Path, unique: str) -> None:
    checkout = closed / "src" / "checkout"
    above = Path(tempfile.gettempdir()) / f"lc-{unique}"
    above.mkdir()
    with users.ordinary_user(above / "home", checkout) as user:
        assert user.run(["cat", str(checkout / "file")]).stdout == "read me"
        assert user.run(["ls", "-A", str(closed)]).stdout.split() == ["src"]
    subprocess.run(["rm", "-r", "--one-file-system", str(above)], check=True)
    assert (closed / "secret").read_text() == "not for you"
    assert os.geteuid() == 0
