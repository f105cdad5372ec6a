import stat
from pathlib import Path

import pytest

from labctl.testing.devices import lent_tun


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "tun"
    path.touch(0o600)
    path.chmod(0o600)
    return path


@pytest.mark.needs("root")
def test_the_mode_is_restored_by_the_last_borrower(device: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    with lent_tun(device, ledger):
        with lent_tun(device, ledger):
            assert mode(device) == 0o666
        assert mode(device) == 0o666
    assert mode(device) == 0o600


@pytest.mark.needs("root")
def test_the_mode_is_restored_after_a_borrower_was_killed(device: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    ledger.write_text("600")  # what a killed borrower leaves
    device.chmod(0o666)
    with lent_tun(device, ledger):
        pass
    assert mode(device) == 0o600
