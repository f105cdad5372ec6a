"""Who writes below a prefix of a filesystem that has no locks: a mark there, so that two do not by mistake.

`PREFIX/holder` names a folder of changes by an identifier that lies in it, so whoever has that folder may open it again after a kill,
and nobody else. It guards against mistakes, not against two that begin at the same moment.
"""

from __future__ import annotations

import errno
import json
import secrets
import socket
from contextlib import suppress
from pathlib import Path

from labemu_store.errors import StoreConfigError, StoreError
from labemu_store.remote.calls import FileSystem, translated

NAME = "holder"


class Holder:
    """The mark of one disk, or of one tree of files.

    Args:
        filesystem: where it is.
        path: its prefix.
        folder: where its changes wait; it exists.
        name: of the mark's object.
        what: what it marks, for messages.
    """

    def __init__(
        self, filesystem: FileSystem, path: str, folder: Path, *, name: str = NAME, what: str = "the disk"
    ) -> None:
        self._filesystem = filesystem
        self._mark = f"{path}/{name}"
        self._name = name
        self._what = what
        self._folder = folder

    def take(self) -> None:
        """Put our mark, unless somebody else's is there.

        Raises:
            StoreConfigError: it is.
            StoreError: the filesystem failed.
        """
        own, found = self._own(), self._found()
        if found is None:
            with translated(f"marking {self._what} as used"):
                self._filesystem.pipe_file(self._mark, json.dumps({"id": own, "host": socket.gethostname()}).encode())
        elif found.get("id") != own:
            raise StoreConfigError(
                f"it is used by another target, on {found.get('host', 'an unknown host')}",
                hint=f"stop that one; if it is gone for good with its folder of changes, remove the object {self._name} of {self._what}",
            )

    def release(self) -> None:
        """Take our mark away; where that fails it stays ours, and we can open the disk again."""
        with suppress(StoreError, FileNotFoundError), translated(f"unmarking {self._what}"):
            self._filesystem.rm_file(self._mark)

    def _own(self) -> str:
        file = self._folder / NAME
        with suppress(FileNotFoundError):
            if found := file.read_text().strip():
                return found
        made = secrets.token_hex(8)
        file.write_text(made)
        return made

    def _found(self) -> dict[str, str] | None:
        try:
            with translated(f"looking who uses {self._what}"):
                self._filesystem.invalidate_cache()
                found = json.loads(self._filesystem.cat_file(self._mark))
        except StoreError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return found if isinstance(found, dict) else {}
