"""`python -m labemu_iscsi`: an iSCSI target from the command line."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from labemu_faults.io.control import ControlSocket
from labemu_iscsi.auth import Credentials
from labemu_iscsi.io.server import IscsiServer, ServerConfigError
from labemu_iscsi.io.state import FileStateStore
from labemu_iscsi.limits import PING_AFTER, PING_TIMEOUT
from labemu_scsi.ports import AccessState
from labemu_store.block import open_block_store
from labemu_store.errors import StoreConfigError
from labemu_store.remote.opening import redacted

_EXAMPLE = """\
example:
  python -m labemu_iscsi --portal 127.0.0.1:3260 --target iqn.2026-11.lab:t1 \\
      --lun 'memory://scratch?size=64MiB' --lun 'file:///var/tmp/disk.img?size=1GiB'
  qemu-img info iscsi://127.0.0.1:3260/iqn.2026-11.lab:t1/1

Each --lun, --group, --allow-initiator, --allow-network, --initiator-chap, --redirect and --access-state belongs to the --target
before it; LUNs take the next number from 0. --lun lun://IQN/NUMBER puts a disk of an earlier target into this one as well.
A LUN's URL may carry: size, readonly, block_size (512, 4096), physical_block_size, serial, thick, removable, number.
Besides files and memory a disk may be on anything that fsspec opens, with what that needs installed and its credentials in the
environment: --lun 's3://bucket/disk?size=1GiB&folder=/var/tmp/waiting' (also: chunk, cache), or, to read, https://host/disk.img.
"""
_OF_TARGET = (
    ("--lun", "URL", "add a disk to the target before; repeatable"),
    ("--group", "TAG", "reach the target through this portal group only; repeatable"),
    ("--allow-initiator", "IQN", "let this initiator in, and no other; repeatable"),
    ("--allow-network", "NETWORK", "let initiators of this network in, and no others; repeatable"),
    ("--initiator-chap", "IQN=FILE", "what this initiator must prove, as in --chap-file; repeatable"),
    ("--redirect", "ADDRESS:PORT", "send logins elsewhere"),
    ("--access-state", "TAG=STATE", f"of a portal group: {', '.join(state.name.lower() for state in AccessState)}"),
)
_UNIT_OPTIONS = ("block_size", "physical_block_size", "serial", "thick", "removable", "number")


@dataclass
class _TargetOptions:
    """A --target, and what was said of it."""

    name: str
    lun: list[str] = field(default_factory=list)
    group: list[str] = field(default_factory=list)
    allow_initiator: list[str] = field(default_factory=list)
    allow_network: list[str] = field(default_factory=list)
    initiator_chap: list[str] = field(default_factory=list)
    redirect: list[str] = field(default_factory=list)
    access_state: list[str] = field(default_factory=list)


class _TargetAction(argparse.Action):
    """Begins a target; the --lun options that follow are its own."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        namespace.targets.append(_TargetOptions(str(values)))


class _OfTargetAction(argparse.Action):
    """Adds to the list of the same name of the target before it."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        if not namespace.targets:
            parser.error(f"{option_string} before any --target")
        getattr(namespace.targets[-1], self.dest).append(str(values))


def _portal(text: str) -> tuple[str, int, int]:
    text, comma, tag = text.partition(",")
    if comma and not (tag.isdecimal() and 1 <= int(tag) <= 0xFFFF):
        raise argparse.ArgumentTypeError(f"{tag!r} is no portal group tag, which is between 1 and 65535")
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")):
        host, port = text, "3260"
    if not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not ADDRESS:PORT")
    return host.strip("[]"), int(port), int(tag or 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m labemu_iscsi",
        description="Serve disks over iSCSI.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(targets=[])
    parser.add_argument(
        "--portal",
        type=_portal,
        action="append",
        required=True,
        metavar="ADDRESS[:PORT][,TAG]",
        help="where to listen, and the portal group, 1 by default; repeatable; port 0 takes a free one",
    )
    parser.add_argument("--target", action=_TargetAction, metavar="IQN", help="begin a target; repeatable")
    for option, metavar, text in _OF_TARGET:
        parser.add_argument(option, action=_OfTargetAction, metavar=metavar, help=text)
    parser.add_argument(
        "--chap-file",
        type=Path,
        metavar="FILE",
        help="ask for CHAP: the first line is user:secret, a second one the target's own user:secret for mutual CHAP",
    )
    parser.add_argument(
        "--discovery-chap", type=Path, metavar="FILE", help="ask for CHAP in discovery too; a file as for --chap-file"
    )
    parser.add_argument("--allow-wildcard", action="store_true", help="permit portals such as 0.0.0.0")
    parser.add_argument(
        "--ping-after",
        type=float,
        default=PING_AFTER,
        metavar="SECONDS",
        help=f"ask an initiator that was silent this long whether it is there; 0 never asks (default: {PING_AFTER:g})",
    )
    parser.add_argument(
        "--ping-timeout",
        type=float,
        default=PING_TIMEOUT,
        metavar="SECONDS",
        help=f"drop it when it has not answered after this long (default: {PING_TIMEOUT:g})",
    )
    parser.add_argument(
        "--control", type=Path, metavar="PATH", help="a unix socket at which faults are set: docs/reference/faults.md"
    )
    parser.add_argument("--verbose", action="store_true", help="log logins and logouts to stderr")
    return parser


def _credentials(path: Path | None) -> Credentials | None:
    if path is None:
        return None
    try:
        lines = [line for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ServerConfigError(
            f"cannot read credentials from {path}: {error}", hint="a file with user:secret"
        ) from error
    pairs = [line.partition(":") for line in lines[:2]]
    if not pairs or not all(user and secret for user, _, secret in pairs):
        raise ServerConfigError(f"{path} holds no credentials", hint="write user:secret on its first line")
    mutual = pairs[1] if len(pairs) > 1 else ("", "", "")
    try:
        return Credentials(user=pairs[0][0], password=pairs[0][2], mutual_user=mutual[0], mutual_password=mutual[2])
    except ValueError as error:
        raise ServerConfigError(f"{path}: {error}", hint="give the target on the second line another one") from error


def _truth(value: str | None) -> bool:
    return value not in (None, "0", "false", "no")


def _add_lun(server: IscsiServer, target: str, number: int, url: str) -> None:
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    options = {name: value for name, value in query if name in _UNIT_OPTIONS}
    rest = urlencode([pair for pair in query if pair[0] not in _UNIT_OPTIONS])
    if parts.scheme == "lun":
        try:
            server.share_lun(parts.netloc, int(parts.path.strip("/")), target, int(options.get("number", number)))
        except (KeyError, ValueError) as error:
            raise ServerConfigError(
                f"{url}: no such disk, or its place is taken", hint="name an earlier one"
            ) from error
        return
    store = open_block_store(urlunsplit(parts._replace(query=rest)))
    told = url if parts.scheme in ("", "file", "memory") else redacted(url)
    try:
        server.add_lun(
            target,
            int(options.get("number", number)),
            store,
            serial=options.get("serial"),
            block_size=int(options.get("block_size", "512")),
            physical_block_size=int(options.get("physical_block_size", "4096")),
            thin=not _truth(options.get("thick")),
            removable=_truth(options.get("removable")),
            state=_state(url),
        )
    except ValueError as error:
        store.close()
        raise ServerConfigError(
            f"{told}: {error}", hint="see `python -m labemu_iscsi --help` for what a URL may carry"
        ) from error


def _state(url: str) -> FileStateStore | None:
    """Where a disk's persistent reservations are kept: beside its file, or in the folder where its changes wait."""
    parts = urlsplit(url)
    if parts.scheme in ("", "file"):
        return FileStateStore.beside(Path(unquote(parts.path)))
    folder = dict(parse_qsl(parts.query)).get("folder")
    return None if folder is None else FileStateStore(Path(folder) / "reservations")


def _add_target(server: IscsiServer, options: _TargetOptions, credentials: Credentials | None) -> None:
    name = options.name
    try:
        groups = [int(tag) for tag in options.group] or None
    except ValueError as error:
        raise ServerConfigError(
            f"{name}: a group is a number, not {', '.join(options.group)}", hint="such as --group 2"
        ) from error
    server.add_target(
        name,
        credentials=credentials,
        initiators=options.allow_initiator or None,
        networks=options.allow_network or None,
        groups=groups,
    )
    for pair in options.initiator_chap:
        initiator, equals, path = pair.partition("=")
        if not equals or not path:
            raise ServerConfigError(
                f"{name}: {pair} is no IQN=FILE", hint="such as iqn.1993-08.org.debian:01:me=secret.txt"
            )
        server.set_credentials(name, _credentials(Path(path)), initiator=initiator)
    for index, url in enumerate(options.lun):
        _add_lun(server, name, index, url)
    for pair in options.access_state:
        tag, _, state = pair.partition("=")
        try:
            server.set_access_state(name, int(tag), AccessState[state.upper()])
        except (KeyError, ValueError) as error:
            raise ServerConfigError(f"{name}: {pair} is no TAG=STATE", hint="such as 2=standby") from error
    for address in options.redirect:
        server.redirect(name, address)


async def _serve(arguments: argparse.Namespace) -> None:
    credentials = _credentials(arguments.chap_file)
    server = IscsiServer(
        [(host, port) for host, port, _ in arguments.portal],
        tags=[tag for *_, tag in arguments.portal],
        allow_wildcard=arguments.allow_wildcard,
        ping_after=arguments.ping_after,
        ping_timeout=arguments.ping_timeout,
    )
    server.set_discovery_credentials(_credentials(arguments.discovery_chap))
    control = None if arguments.control is None else ControlSocket(arguments.control, server.faults)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        for options in arguments.targets:
            _add_target(server, options, credentials)
        await server.start()
        if control is not None:
            await control.start()
        for (host, port), (*_, tag) in zip(server.portals, arguments.portal, strict=True):
            for name, target in server.targets.items():
                for lun in target.device.units if tag in target.groups else ():
                    address = f"[{host}]" if ":" in host else host
                    sys.stdout.write(f"iscsi://{address}:{port}/{name}/{lun}\n")
        sys.stdout.flush()
        await stop.wait()
    finally:
        if control is not None:
            await control.close()
        await server.close()


def main() -> int:
    """Parse the arguments, serve until SIGTERM or SIGINT; the exit code."""
    arguments = _parser().parse_args()
    logging.basicConfig(level=logging.INFO if arguments.verbose else logging.WARNING, format="%(message)s")
    try:
        asyncio.run(_serve(arguments))
    except (ServerConfigError, StoreConfigError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        hint = getattr(error, "hint", "")
        if hint:
            sys.stderr.write(f"  hint: {hint}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
