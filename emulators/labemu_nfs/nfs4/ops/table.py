"""The operations that need no state of a client's, in one table."""

from __future__ import annotations

from labemu_nfs.nfs4.compound import Op
from labemu_nfs.nfs4.ops import attributes, create, data, directories, filehandles, names, security

OPS: tuple[Op, ...] = (
    *filehandles.OPS,
    *names.OPS,
    *attributes.OPS,
    *create.OPS,
    *data.OPS,
    *directories.OPS,
    *security.OPS,
)
