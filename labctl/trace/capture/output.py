"""Where a recording goes: one file, a ring of files, or standard output."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from labctl.errors import LabError, UsageError
from labctl.trace.files.writer import PcapngWriter
from labctl.trace.record import Annotation, Link

STDOUT = "-"
"""The name that means standard output."""

BUFFER = 1 << 20
"""Bytes gathered before they are written: a system call for hundreds of packets."""


class Output:
    """Writes one file after the other; each is whole by itself: it has the links and the names at its beginning.

    Args:
        path: the file, or `-`. With a size, files are numbered: `trace.pcapng` becomes `trace-00001.pcapng`, ….
        links: what is captured.
        size: bytes after which the next file begins, or None for one file.
        keep: how many of the last files stay, or None for all.
        pipe: an open file that takes it all instead; closed at the end.

    Raises:
        UsageError: a ring of files on standard output, or a number of files without a size.
        LabError: the file cannot be written.
    """

    def __init__(
        self,
        path: str,
        links: Sequence[Link],
        *,
        size: int | None = None,
        keep: int | None = None,
        pipe: BinaryIO | None = None,
    ) -> None:
        if path == STDOUT and size is not None:
            raise UsageError("standard output is one file", hint="leave --size out, or write to a file with -o FILE")
        if keep is not None and size is None:
            raise UsageError("--files needs --size", hint="say when a file is full, e.g. --size 100MiB")
        self._path, self._links, self._size, self._keep, self._pipe = path, links, size, keep, pipe
        self._file: BinaryIO | None = None
        self._number = 0
        self._made: deque[Path] = deque()
        self._beginning: list[Annotation] = []
        self.writer = self._next()

    @property
    def files(self) -> list[str]:
        """The files that are there now, oldest first."""
        return [str(path) for path in self._made]

    def begin_with(self, annotation: Annotation) -> None:
        """Write an annotation now, and at the beginning of each later file in place of an earlier one of its kind."""
        self._beginning = [each for each in self._beginning if each.kind != annotation.kind] + [annotation]
        self.writer.annotate(annotation)

    def that_fit(self, packets: Sequence[tuple[int, int, int, bytes | memoryview]]) -> int:
        """How many of the packets, in the form of PcapngWriter.write_run, go into this file before the next begins; one at least."""
        if self._size is None:
            return len(packets)
        room = self._size - self.writer.written
        for count, (_time, _link, _length, data) in enumerate(packets, 1):
            room -= len(data)
            if room <= 0:
                return count
        return len(packets)

    def settle(self) -> None:
        """Hand what was gathered to the system, so that readers see it, and begin the next file where this one is full."""
        if self._file is not None:
            self._file.flush()
        if self._size is not None and self.writer.written >= self._size:
            self.close()
            self.writer = self._next()

    def close(self) -> None:
        """Finish the file."""
        file, self._file = self._file, None
        if file is None:
            return
        with suppress(BrokenPipeError):  # the reader has seen enough
            file.flush()
        if self._path != STDOUT:
            with suppress(BrokenPipeError):  # closing tries to flush again
                file.close()

    def _next(self) -> PcapngWriter:
        self._number += 1
        self._file = self._open()
        writer = PcapngWriter(self._file)
        for link in self._links:
            writer.add_link(link)
        for annotation in self._beginning:
            writer.annotate(annotation)
        self._file.flush()
        return writer

    def _open(self) -> BinaryIO:
        if self._pipe is not None:
            return self._pipe
        if self._path == STDOUT:
            return sys.stdout.buffer
        path = Path(self._path)
        if self._size is not None:
            path = path.with_name(f"{path.stem}-{self._number:05}{path.suffix}")
        try:
            file = path.open("wb", buffering=BUFFER)
            self._made.append(path)
            if self._keep is not None and len(self._made) > self._keep:
                self._made.popleft().unlink(missing_ok=True)
        except OSError as error:
            raise LabError(f"cannot write {path}: {error.strerror}", hint="choose another file with -o FILE") from error
        return file
