"""`python -m labemu_nfs`: the NFS server alone."""

from __future__ import annotations

import argparse
import asyncio
import logging
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from labemu_faults.io.control import ControlSocket
from labemu_nfs.errors import ConfigurationError
from labemu_nfs.io.options import parse_export
from labemu_nfs.io.server import NFS_PORT, NfsServer
from labemu_nfs.limits import GRACE_PERIOD, LEASE_TIME
from labemu_nfs.portmap import PORTMAP_PORT

_log = logging.getLogger("labemu_nfs")

_EPILOG = f"""\
An export is PATH=URL[,OPTION...]; URL is file:///directory, memory://, or a tree elsewhere that fsspec opens, such as
s3://bucket/prefix?folder=/var/lib/lab/s3 (docs/reference/nfs-server.md says what becomes of it). Options:
  ro, rw            read-only, or read and write (the default)
  squash=WHO        none (the default), root or all: who becomes the anonymous user
  anonuid=N         the anonymous user's uid (65534); anongid=N likewise
  client=NETWORK    who may mount: 10.0.0.0/24 or 10.0.0.7; repeat it for several
  sec=sys+none      the credentials that are taken
  quota=SIZE        no more room than this: 10GiB; files=N no more files and directories
  async             answer changes of names and attributes before they are on disk
  refer=HOST:/PATH  clients of NFSv4 are sent there instead (then URL is memory://)
  fsid=N            the file system's number; derived from PATH and URL if not given

Clients look for the port mapper at port {PORTMAP_PORT}, which needs root or CAP_NET_BIND_SERVICE.

example:
  mkdir -p /srv/gold
  python -m labemu_nfs --listen 10.0.0.1 --export /gold=file:///srv/gold --state-dir /var/lib/labemu_nfs
  nfs-ls nfs://10.0.0.1/gold
  qemu-img create -f qcow2 nfs://10.0.0.1/gold/disk.qcow2 1G
  mount -t nfs -o vers=3 10.0.0.1:/gold /mnt
  mount -t nfs -o vers=4.2 10.0.0.1:/gold /mnt
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m labemu_nfs",
        description="Serve directories over NFSv3 and NFSv4.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--listen", metavar="ADDRESS", action="append", required=True, help="IP address; may be repeated"
    )
    parser.add_argument(
        "--export", metavar="PATH=URL", action="append", required=True, help="what to serve; may be repeated"
    )
    parser.add_argument("--state-dir", metavar="DIR", type=Path, help="keeps filehandles good across restarts")
    parser.add_argument("--port", type=int, default=NFS_PORT, help="of NFS and MOUNT (default: %(default)s)")
    parser.add_argument(
        "--portmap-port", type=int, default=PORTMAP_PORT, help="of the port mapper (default: %(default)s)"
    )
    parser.add_argument("--no-portmap", action="store_true", help="run no port mapper")
    parser.add_argument(
        "--control", type=Path, metavar="PATH", help="a unix socket at which faults are set: docs/reference/faults.md"
    )
    parser.add_argument(
        "--lease", metavar="SECONDS", type=int, default=LEASE_TIME, help="of NFSv4's clients (default: %(default)s)"
    )
    parser.add_argument(
        "--grace",
        metavar="SECONDS",
        type=int,
        help="how long after a restart clients may take back what they had, before others get it"
        f" (default: a lease; {GRACE_PERIOD:.0f} for NFSv3's locks)",
    )
    parser.add_argument("--allow-wildcard", action="store_true", help="let --listen be 0.0.0.0 or ::")
    return parser


def _raise_descriptor_limit() -> None:
    """Take as many descriptors as are allowed: each client and each file in use wants some."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _serve(options: argparse.Namespace) -> None:
    server = NfsServer(
        options.listen,
        [parse_export(text) for text in options.export],
        options.state_dir,
        nfs_port=options.port,
        portmap_port=None if options.no_portmap else options.portmap_port,
        allow_wildcard=options.allow_wildcard,
        lease=options.lease,
        grace=options.grace,
    )
    control = None if options.control is None else ControlSocket(options.control, server.faults)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await server.start()
        if control is not None:
            await control.start()
        paths = " ".join(export.path for export in server.exports)
        _log.info("serving %s at %s port %s", paths, " ".join(options.listen), server.nfs_port)
        await stop.wait()
    finally:
        if control is not None:
            await control.close()
        await server.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    options = _parser().parse_args(arguments)
    _raise_descriptor_limit()
    try:
        asyncio.run(_serve(options))
    except ConfigurationError as error:
        _log.error("error: %s\nhint: %s", error.message, error.hint)
        return 2
    except OSError as error:
        _log.error("error: %s\nhint: see that the address is this machine's, the port free and yours to use", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
