"""NFSv3 as a table: the 22 procedures of RFC 1813 3.3, how each fails, and which must not be done twice."""

from __future__ import annotations

from collections.abc import Callable

from labemu_nfs.context import Context
from labemu_nfs.nfs3 import attributes, create, data, directories, filesystem, names
from labemu_nfs.nfs3.request import (
    Request,
    failed_link,
    failed_plain,
    failed_post_op,
    failed_rename,
    failed_wcc,
)
from labemu_nfs.nfs3.status import Nfs3Error, status_of
from labemu_nfs.rpc.auth import Credential
from labemu_nfs.rpc.message import Body
from labemu_nfs.rpc.program import Caller, Handler, Job, Procedure, Program, null
from labemu_nfs.xdr import Decoder, u32
from labemu_store.errors import AbsentError

NFS_PROGRAM = 100003

Run = Callable[[Request, Decoder], Body | Job]
Failure = Callable[[Request], bytes]

TABLE: tuple[tuple[str, Run, Failure, bool], ...] = (
    ("GETATTR", attributes.getattr3, failed_plain, False),
    ("SETATTR", attributes.setattr3, failed_wcc, True),
    ("LOOKUP", names.lookup3, failed_post_op, False),
    ("ACCESS", attributes.access3, failed_post_op, False),
    ("READLINK", data.readlink3, failed_post_op, False),
    ("READ", data.read3, failed_post_op, False),
    ("WRITE", data.write3, failed_wcc, False),
    ("CREATE", create.create3, failed_wcc, True),
    ("MKDIR", create.mkdir3, failed_wcc, True),
    ("SYMLINK", create.symlink3, failed_wcc, True),
    ("MKNOD", create.mknod3, failed_wcc, True),
    ("REMOVE", names.remove3, failed_wcc, True),
    ("RMDIR", names.rmdir3, failed_wcc, True),
    ("RENAME", names.rename3, failed_rename, True),
    ("LINK", names.link3, failed_link, True),
    ("READDIR", directories.readdir3, failed_post_op, False),
    ("READDIRPLUS", directories.readdirplus3, failed_post_op, False),
    ("FSSTAT", filesystem.fsstat3, failed_post_op, False),
    ("FSINFO", filesystem.fsinfo3, failed_post_op, False),
    ("PATHCONF", filesystem.pathconf3, failed_post_op, False),
    ("COMMIT", data.commit3, failed_wcc, False),
)
"""Name, function, what follows the status of a failure, whether the reply is kept; NULL (0) comes before them all."""


def _handler(context: Context, run: Run, failure: Failure) -> Handler:
    def handle(caller: Caller, credential: Credential, arguments: Decoder) -> Body | Job:
        request = Request(context, caller, credential)
        at = arguments.at
        try:
            return run(request, arguments)
        except Nfs3Error as error:
            status = error.status
        except AbsentError as absent:
            return fetched(absent, caller, credential, Decoder(memoryview(bytes(arguments.view)), at))
        except OSError as error:
            status = status_of(error)
        return [u32(status) + failure(request)]

    def fetched(absent: AbsentError, caller: Caller, credential: Credential, arguments: Decoder) -> Job:
        """Have what the call needs fetched, and do it then; the arguments are a copy, since their buffer is used again meanwhile."""

        def finish(error: OSError | None) -> Body | Job:
            if error is not None:
                return [u32(status_of(error)) + failure(Request(context, caller, credential))]
            return handle(caller, credential, arguments)

        return Job(absent.fetch, finish)

    return handle


def nfs_program(context: Context, version4: tuple[Procedure, ...] = ()) -> Program:
    """The NFS program over a context, with the procedures of version 4 too where they are given."""
    procedures = tuple(Procedure(name, _handler(context, run, fails), once) for name, run, fails, once in TABLE)
    versions = {3: (Procedure("NULL", null), *procedures)}
    if version4:
        versions[4] = version4
    return Program(NFS_PROGRAM, "nfs", versions, frozenset({"tcp"}))
