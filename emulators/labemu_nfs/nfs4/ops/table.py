"""All operations in one table."""

from __future__ import annotations

from labemu_nfs.nfs4.compound import Op
from labemu_nfs.nfs4.ops import (
    attributes,
    client,
    copy,
    create,
    data,
    delegation,
    directories,
    filehandles,
    lock,
    names,
    open,  # noqa: A004 # the operation's name
    opens,
    security,
    session,
    sparse,
    xattrs,
)

OPS: tuple[Op, ...] = (
    *filehandles.OPS,
    *names.OPS,
    *attributes.OPS,
    *create.OPS,
    *data.OPS,
    *directories.OPS,
    *security.OPS,
    *client.OPS,
    *session.OPS,
    *open.OPS,
    *opens.OPS,
    *lock.OPS,
    *delegation.OPS,
    *sparse.OPS,
    *copy.OPS,
    *xattrs.OPS,
)
