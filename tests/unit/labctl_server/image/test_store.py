"""Images are built once, whole, and found again."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from labctl.errors import LabError
from labctl_server.image.recipe import Image, Progress
from labctl_server.image.store import ImageMissingError, ImageStore


class FakeRecipe:
    """Writes a root disk with given content."""

    name = "tiny"

    def __init__(self, content: bytes = b"root", fingerprint: str = "1") -> None:
        self.content = content
        self.fingerprint = fingerprint
        self.builds = 0
        self.fails = False

    def build(self, folder: Path, packages: Path, progress: Progress) -> Image:
        self.builds += 1
        (folder / "rootfs.raw").write_bytes(self.content)
        if self.fails:
            raise LabError("no network", hint="plug it in")
        size = len(self.content)
        return Image(name="tiny", version="", recipe=self.fingerprint, rootfs=Path("rootfs.raw"), rootfs_size=size)


def store(cache: Path, recipe: FakeRecipe) -> ImageStore:
    return ImageStore(cache, [recipe])


def test_what_is_not_built_says_how_to_build_it(tmp_path: Path) -> None:
    images = store(tmp_path / "cache", FakeRecipe())
    assert images.list() == []
    with pytest.raises(ImageMissingError) as caught:
        images.get("tiny")
    assert caught.value.hint == "build it: labctl image build tiny"


def test_a_built_image_is_found_by_another_store(tmp_path: Path) -> None:
    built = store(tmp_path, FakeRecipe()).build("tiny")
    again = store(tmp_path, FakeRecipe())
    assert again.get("tiny") == built
    assert again.list() == [built]
    assert built.rootfs.read_bytes() == b"root"


def test_the_version_is_that_of_the_content(tmp_path: Path) -> None:
    first = store(tmp_path / "a", FakeRecipe()).build("tiny")
    same = store(tmp_path / "b", FakeRecipe()).build("tiny")
    other = store(tmp_path / "c", FakeRecipe(b"else")).build("tiny")
    assert first.version == same.version != other.version


def test_an_older_recipes_image_is_built_again_and_stays_for_who_uses_it(tmp_path: Path) -> None:
    old = store(tmp_path, FakeRecipe()).build("tiny")
    newer = store(tmp_path, FakeRecipe(b"new", "2"))
    with pytest.raises(ImageMissingError):
        newer.get("tiny")
    assert newer.ensure("tiny").rootfs.read_bytes() == b"new"
    assert old.rootfs.read_bytes() == b"root"


def test_a_failed_build_leaves_nothing_and_keeps_the_old(tmp_path: Path) -> None:
    recipe = FakeRecipe()
    images = store(tmp_path, recipe)
    built = images.build("tiny")
    recipe.fails = True
    with pytest.raises(LabError, match="no network"):
        images.build("tiny")
    assert images.get("tiny") == built
    assert list((tmp_path / "tiny").glob(".build-*")) == []


def test_many_who_ask_at_once_cause_one_build(tmp_path: Path) -> None:
    recipe = FakeRecipe()
    threads = [threading.Thread(target=store(tmp_path, recipe).ensure, args=("tiny",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert recipe.builds == 1


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(LabError, match='"mikro"') as caught:
        store(tmp_path, FakeRecipe()).get("mikro")
    assert "tiny" in (caught.value.hint or "")


def test_a_raw_disk_file_is_an_image_until_it_changes(tmp_path: Path) -> None:
    disk = tmp_path / "my.raw"
    disk.write_bytes(bytes(4096))
    images = store(tmp_path / "cache", FakeRecipe())
    image = images.ensure(str(disk))
    assert (image.rootfs.resolve(), image.rootfs_size, image.kernel) == (disk, 4096, None)
    disk.write_bytes(bytes(8192))
    with pytest.raises(ImageMissingError):
        images.get(str(disk))
    with pytest.raises(LabError, match="no disk file"):
        images.get(str(tmp_path / "nosuch.raw"))


def test_a_damaged_manifest_counts_as_not_built(tmp_path: Path) -> None:
    images = store(tmp_path, FakeRecipe())
    (images.build("tiny").rootfs.parent / "manifest.json").write_text("{")
    assert images.list() == []
    assert images.ensure("tiny").version
