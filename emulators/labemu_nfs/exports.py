"""Exports: which directories are served, to whom, and as whom.

Rules: an export's fsid is a hash of its path and its store's URL unless given, so that handles stay good while it stays the same and go
stale when the path is given another store. Exports may be added and removed at any time; no answer is cached beyond that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Literal

from labemu_nfs.errors import ConfigurationError
from labemu_nfs.limits import MAX_CREDENTIALS, MAX_MOUNT_PATH
from labemu_nfs.rpc.auth import AUTH_NONE, AUTH_SYS, Credential
from labemu_store.file.access import Identity
from labemu_store.file.protocol import FileStore

Squash = Literal["none", "root", "all"]
Security = Literal["sys", "none"]

NOBODY = 65534
"""The uid and gid of strangers, as on Linux."""

_FLAVORS = {"sys": AUTH_SYS, "none": AUTH_NONE}


@dataclass(eq=False, kw_only=True, slots=True)
class Export:
    """One directory that is served.

    Args:
        path: what clients mount: `/gold`.
        store: what is there.
        read_only: nothing may be changed.
        squash: whose uid 0 or whose every id becomes the anonymous one. `none` is the default, as hypervisors need it.
        anonymous_uid: who squashed callers and those without credentials are.
        anonymous_gid: their group.
        clients: networks whose hosts may mount; empty for any.
        security: which credentials are taken; with `none` alone every caller is anonymous.
        sync: names and attributes are on stable storage before a change is answered (RFC 1813 4.8). Without it they follow soon after;
            what RFC 1813 promises of WRITE and COMMIT holds in any case.
        fsid: its number, unique in the server; 0 to derive it.
        refer: hosts and paths where it is instead: a referral of NFSv4 (RFC 8881 11), of which NFSv3 sees nothing.
    """

    path: str
    store: FileStore
    read_only: bool = False
    squash: Squash = "none"
    anonymous_uid: int = NOBODY
    anonymous_gid: int = NOBODY
    clients: tuple[IPv4Network | IPv6Network, ...] = ()
    security: frozenset[Security] = frozenset(("sys", "none"))
    sync: bool = True
    fsid: int = 0
    refer: tuple[tuple[str, str], ...] = ()
    _identities: dict[Credential, Identity] = field(default_factory=dict, init=False, repr=False)
    _admitted: dict[str, bool] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.path.startswith("/") or "//" in self.path or len(self.path.encode()) > MAX_MOUNT_PATH:
            raise ConfigurationError(f"{self.path}: not a path to export", hint="Write it as /gold or /tank/gold.")
        if len(self.path) > 1:
            self.path = self.path.rstrip("/")
        if not self.fsid:
            name = f"{self.path}\0{self.store.url}".encode()
            self.fsid = int.from_bytes(blake2b(name, digest_size=8).digest(), "big")

    def change(
        self,
        *,
        read_only: bool | None = None,
        squash: Squash | None = None,
        clients: tuple[IPv4Network | IPv6Network, ...] | None = None,
    ) -> None:
        """Change what is given, from the next call on; what clients have open stays open."""
        self.read_only = self.read_only if read_only is None else read_only
        self.squash = self.squash if squash is None else squash
        self.clients = self.clients if clients is None else clients
        self._identities.clear()
        self._admitted.clear()

    @property
    def flavors(self) -> tuple[int, ...]:
        """The credential flavours that MNT announces (RFC 1813 5.2.1), the preferred first."""
        return tuple(_FLAVORS[name] for name in ("sys", "none") if name in self.security)

    def admits(self, address: str) -> bool:
        """Whether a client at this IP address may use it."""
        if not self.clients:
            return True
        known = self._admitted.get(address)
        if known is None:
            if len(self._admitted) >= MAX_CREDENTIALS:
                self._admitted.clear()
            known = any(ip_address(address) in network for network in self.clients)
            self._admitted[address] = known
        return known

    def identity(self, credential: Credential) -> Identity | None:
        """Who a caller is here, or None where such credentials are not taken."""
        known = self._identities.get(credential)
        if known is None:
            known = self._identify(credential)
            if known is not None:
                if len(self._identities) >= MAX_CREDENTIALS:
                    self._identities.clear()
                self._identities[credential] = known
        return known

    def _identify(self, credential: Credential) -> Identity | None:
        anonymous = Identity(self.anonymous_uid, self.anonymous_gid)
        if "sys" not in self.security:
            return anonymous
        if credential.flavor == AUTH_NONE:
            return anonymous if "none" in self.security else None
        if self.squash == "all" or (self.squash == "root" and credential.uid == 0):
            return anonymous
        groups, gid = credential.groups, credential.gid
        if self.squash == "root":
            groups = frozenset(self.anonymous_gid if group == 0 else group for group in groups)
            gid = self.anonymous_gid if gid == 0 else gid
        return Identity(credential.uid, gid, groups)


class ExportTable:
    """The exports of a server, by path and by fsid.

    Attributes:
        generation: another number after each change of which exports there are.
    """

    def __init__(self) -> None:
        self.generation = 0
        self._by_path: dict[str, Export] = {}
        self._by_fsid: dict[int, Export] = {}

    def __iter__(self) -> Iterator[Export]:
        return iter(self._by_path.values())

    def __len__(self) -> int:
        return len(self._by_path)

    def add(self, export: Export) -> None:
        """Serve it from now on. Raises ConfigurationError where its path or fsid is taken."""
        if export.path in self._by_path:
            raise ConfigurationError(f"{export.path} is exported already", hint="Remove the other export first.")
        if export.fsid in self._by_fsid:
            raise ConfigurationError(
                f"{export.path}: fsid {export.fsid} is taken", hint="Give each export its own fsid."
            )
        self.generation += 1
        self._by_path[export.path] = export
        self._by_fsid[export.fsid] = export

    def remove(self, path: str) -> Export:
        """Serve it no more: its handles are stale. Raises ConfigurationError where there is none."""
        export = self._by_path.pop(path, None)
        if export is None:
            raise ConfigurationError(f"{path} is not exported", hint="See the list of exports.")
        self.generation += 1
        del self._by_fsid[export.fsid]
        return export

    def by_path(self, path: str) -> Export | None:
        """The export of exactly this path."""
        return self._by_path.get(path)

    def by_fsid(self, fsid: int) -> Export | None:
        """The export of a handle."""
        return self._by_fsid.get(fsid)

    def above(self, path: str) -> tuple[Export, str] | None:
        """The longest export that `path` is in, and what remains of the path."""
        at = path.rstrip("/") or "/"
        while True:
            export = self._by_path.get(at)
            if export is not None:
                return export, path[len(at) :].strip("/")
            if at == "/":
                return None
            at = at.rpartition("/")[0] or "/"


def parse_clients(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Networks from `10.0.0.0/24,10.1.0.7`. Raises ConfigurationError."""
    try:
        return tuple(ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ConfigurationError(f"clients={text}: {error}", hint="Write addresses or networks: 10.0.0.0/24.") from None
