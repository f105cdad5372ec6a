"""Keeps images: finds them, and builds them once, atomically, however many ask at the same time.

    CACHE/packages/*.deb              fetched packages, kept between builds
    CACHE/NAME/VERSION/manifest.json  a finished image; a folder appears whole, by rename, and never changes after
    CACHE/NAME/current                a symbolic link to the version in use

A version that is no longer current stays, since VMs that run from it read its kernel again when they are reset. The cache holds nothing
that cannot be built again.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from labctl.errors import LabError
from labctl_server.image.client import CLIENT
from labctl_server.image.disk import DiskFileRecipe, is_disk_file
from labctl_server.image.micro import MICRO
from labctl_server.image.recipe import Image, Progress, Recipe

_MANIFEST = "manifest.json"


class ImageMissingError(LabError):
    """The image can be built and has not been."""


class ImageStore:
    """The images of one cache folder.

    Args:
        cache: the folder; it is made when first needed.
        recipes: the images that can be built by name.
    """

    def __init__(self, cache: Path, recipes: Iterable[Recipe] | None = None) -> None:
        self.cache = cache
        self._recipes = {recipe.name: recipe for recipe in ((MICRO, CLIENT) if recipes is None else recipes)}

    def names(self) -> list[str]:
        """The images that can be had by name, built or not."""
        return sorted(self._recipes)

    def list(self) -> list[Image]:
        """The images that are ready, by name."""
        links = sorted(self.cache.glob("*/current")) if self.cache.exists() else []
        return [image for link in links if (image := _read(link.resolve())) is not None]

    def get(self, name: str) -> Image:
        """The image of that name, or made from the disk file at that path.

        Raises:
            ImageMissingError: it is not built, or by an older recipe.
            LabError: there is no such image.
        """
        recipe = self._recipe(name)
        image = _read((self._folder(recipe) / "current").resolve())
        if image is None or image.recipe != recipe.fingerprint:
            what = "is not built" if image is None else "was built by another version of labctl"
            raise ImageMissingError(f"image {name} {what}", hint=f"build it: labctl image build {name}")
        return image

    def ensure(self, name: str, progress: Progress | None = None) -> Image:
        """The image, built if need be. Blocks meanwhile.

        Raises:
            LabError: see build.
        """
        try:
            return self.get(name)
        except ImageMissingError:
            return self._build(name, progress or _silent, again=False)

    def build(self, name: str, progress: Progress | None = None) -> Image:
        """Build the image from the newest packages, and make it the current one. Blocks meanwhile.

        Raises:
            LabError: no such image, a missing tool, no network, a cache that cannot be written; with a hint.
        """
        return self._build(name, progress or _silent, again=True)

    def _build(self, name: str, progress: Progress, *, again: bool) -> Image:
        recipe = self._recipe(name)
        try:
            with self._lock(progress):
                if not again:
                    with suppress(ImageMissingError):  # who held the lock before us may have built it
                        return self.get(name)
                return self._build_locked(recipe, progress)
        except OSError as error:
            raise LabError(
                f"cannot build image {name}: {error}", hint=f"check {self.cache} and its free space"
            ) from error

    def _build_locked(self, recipe: Recipe, progress: Progress) -> Image:
        home, packages = self._folder(recipe), self.cache / "packages"
        for folder in (home, packages):
            folder.mkdir(parents=True, exist_ok=True)
        for remains in home.glob(".build-*"):  # of a build that was killed; the lock says that none runs now
            shutil.rmtree(remains)
        scratch = Path(tempfile.mkdtemp(prefix=".build-", dir=home))
        try:
            image = recipe.build(scratch, packages, progress)
            image = image.named(_content_version(image, scratch))
            (scratch / _MANIFEST).write_text(image.to_json())
            scratch.chmod(0o755)
            finished = home / image.version
            if _read(finished) is None:
                shutil.rmtree(finished, ignore_errors=True)  # damaged
                scratch.rename(finished)
            _point(home / "current", image.version)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        progress(f"{image.name} {image.version} is ready")
        return self.get(recipe.name)

    def _recipe(self, name: str) -> Recipe:
        if recipe := self._recipes.get(name):
            return recipe
        if is_disk_file(name):
            return DiskFileRecipe(Path(name))
        known = ", ".join(self.names())
        raise LabError(f'no image named "{name}"', hint=f"use one of {known}, or the path of a raw or qcow2 disk file")

    def _folder(self, recipe: Recipe) -> Path:
        if recipe.name in self._recipes:
            return self.cache / recipe.name
        return self.cache / f"file-{hashlib.sha256(recipe.name.encode()).hexdigest()[:16]}"

    @contextmanager
    def _lock(self, progress: Progress) -> Iterator[None]:
        self.cache.mkdir(parents=True, exist_ok=True)
        with (self.cache / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress("waiting for another build")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _silent(_: str) -> None:
    pass


def _read(folder: Path) -> Image | None:
    try:
        return Image.from_json((folder / _MANIFEST).read_text(), folder)
    except (OSError, ValueError, TypeError, KeyError):
        return None  # absent, or of another version of labctl: build it again


def _content_version(image: Image, folder: Path) -> str:
    digest = hashlib.sha256(f"{image.recipe} {image.cmdline}".encode())
    for path in (image.kernel, image.initrd, image.rootfs):
        if path is not None:
            with (folder / path).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _point(link: Path, target: str) -> None:
    fresh = link.with_name(".current")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)
