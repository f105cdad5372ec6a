"""Two that write to one disk by mistake are told so; one that was killed is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from labemu_store.block import BlockStore, layout
from labemu_store.block.objects import open_objects
from labemu_store.block.open import open_block_store, written_back
from labemu_store.errors import StoreConfigError, StoreError

DISK = "/test-holder/disk"


@pytest.fixture
def filesystem() -> Iterator[Any]:
    made = MemoryFileSystem()
    yield made
    made.rm("/test-holder", recursive=True)


@pytest.fixture
def opened(filesystem: Any, tmp_path: Path) -> Callable[[str], BlockStore]:
    def one(folder: str) -> BlockStore:
        chunks = open_objects(filesystem, DISK, size=1 << 16, chunk=4096)
        return written_back(chunks, filesystem, DISK, tmp_path / folder, 1 << 20)

    return one


def killed(store: Any) -> None:
    """What a kill leaves: the folder unlocked, and everything else as it was."""
    store.discard()
    store.close()


def test_another_one_is_refused_until_the_first_has_ended(opened: Callable[[str], BlockStore]) -> None:
    first = opened("one")
    first.write(0, b"mine")
    with pytest.raises(StoreConfigError, match="used by another target, on ") as caught:
        opened("two")
    assert "remove the object holder" in caught.value.hint
    first.close()
    second = opened("two")
    assert bytes(second.read(0, 4)) == b"mine"
    second.close()


def test_the_same_one_may_come_again_after_a_kill_and_no_other(opened: Callable[[str], BlockStore]) -> None:
    killed(opened("one"))
    with pytest.raises(StoreConfigError):
        opened("two")
    opened("one").close()
    opened("two").close()


def test_one_whose_changes_could_not_be_brought_keeps_its_mark(
    opened: Callable[[str], BlockStore], filesystem: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened("one")
    store.write(0, b"waits")

    def fail(*arguments: object) -> None:
        raise TimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(filesystem, "pipe_file", fail)
        with pytest.raises(StoreError):
            store.close()
    with pytest.raises(StoreConfigError):
        opened("two")
    opened("one").close()
    second = opened("two")
    assert bytes(second.read(0, 5)) == b"waits"
    second.close()


def test_a_disk_goes_with_its_mark(opened: Callable[[str], BlockStore], filesystem: Any) -> None:
    killed(opened("one"))
    layout.remove(filesystem, DISK)
    assert not filesystem.exists(f"{DISK}/holder")
    opened("two").close()


def test_it_is_so_for_urls_with_a_folder_too(tmp_path: Path) -> None:
    url = f"local://{tmp_path}/disk?size=1MiB"
    first = open_block_store(f"{url}&folder={tmp_path}/one")
    with pytest.raises(StoreConfigError, match=rf"local://{tmp_path}/disk: it is used by another target"):
        open_block_store(f"{url}&folder={tmp_path}/two")
    open_block_store(f"{url}&readonly=1").close()
    first.close()
    open_block_store(f"{url}&folder={tmp_path}/two").close()
