"""Opening a capture: any fsspec URL, and what gzip or zstandard packed. Which it is, the first bytes say, not the name."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from labctl.trace.errors import CaptureError

GZIP: Final = b"\x1f\x8b"
ZSTANDARD: Final = b"\x28\xb5\x2f\xfd"  # RFC 8878 3.1.1


def open_capture(url: str) -> BinaryIO:
    """Open a capture for reading; the bytes that come are those of pcap or pcapng.

    Raises:
        CaptureError: it is not there, or is packed in a way that this machine cannot unpack.
    """
    try:
        file = _open(url)
        first = file.read(4)
        file.seek(0)
    except (OSError, ValueError, ImportError) as error:
        raise CaptureError(f"cannot open {url}: {error}", hint="name a file, or a URL that fsspec knows") from error
    if first.startswith(GZIP):
        return cast(BinaryIO, _Unpacked(file))
    if first == ZSTANDARD:
        return _zstandard(file)
    return file


class _Unpacked(gzip.GzipFile):
    """What gzip packed; closes the file, too, which gzip itself leaves open."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(fileobj=file, mode="rb")
        self._file = file

    def close(self) -> None:
        super().close()
        self._file.close()


def _open(url: str) -> BinaryIO:
    if Path(url).is_file():
        return Path(url).open("rb")
    import fsspec  # takes 0.1 s to import: files of this machine, and live captures, do without it

    return cast(BinaryIO, fsspec.open(url, "rb").open())


def _zstandard(file: BinaryIO) -> BinaryIO:
    try:
        import zstandard
    except ImportError as error:
        raise CaptureError(
            "the capture is packed by zstandard", hint="pip install zstandard, or unpack it: zstd -d FILE"
        ) from error
    reader: Any = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
    return cast(BinaryIO, reader)


def read_into(file: BinaryIO, view: memoryview) -> int:
    """Fill a buffer; how many bytes came, fewer only at the file's end.

    Raises:
        CaptureError: the file cannot be read or unpacked.
    """
    total = 0
    into = getattr(file, "readinto", None)
    try:
        while total < len(view):
            if into is not None:
                got = into(view[total:])
            else:
                part = file.read(len(view) - total)
                got = len(part)
                view[total : total + got] = part
            if not got:
                break
            total += got
    except (OSError, EOFError, zlib.error) as error:
        raise CaptureError(f"the capture cannot be read further: {error}") from error
    except Exception as error:
        if type(error).__name__ != "ZstdError":  # known only where zstandard is installed
            raise
        raise CaptureError(f"the capture cannot be unpacked further: {error}") from error
    return total
