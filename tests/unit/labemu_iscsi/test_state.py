"""Reservations in a file beside their disk: kept whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from labemu_iscsi.io.state import FileStateStore


def test_what_was_saved_is_loaded_and_belongs_to_its_user_alone(tmp_path: Path) -> None:
    state = FileStateStore.beside(tmp_path / "disk.img")
    assert state.load() is None
    for data in (b"one", b"two"):
        state.save(data)
        assert state.load() == data
    assert state.path.name == "disk.img.reservations"
    assert state.path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == [state.path.name]


@pytest.mark.parametrize("step", ["fsync", "open"])
def test_what_cannot_be_saved_is_said_and_the_last_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    state = FileStateStore(tmp_path / "kept")
    state.save(b"one")

    def fail(*_args: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"labemu_iscsi.io.state.os.{step}", fail)
    with pytest.raises(OSError, match="No space left"):
        state.save(b"two")
    monkeypatch.undo()
    assert state.load() == b"one"
