"""A migration's stream under TLS: QEMU shows the host's own certificate, and takes only what the lab's authority signed.

The destination takes the source host's certificate and no other's: an array or labd itself could not send it a VM. Certificates have no
`keyEncipherment` (their keys are EC ones, and TLS 1.3 has no use for it), which QEMU's own sanity check asks for all the same: it is
off, while the chain, the name and the dates are checked in every handshake.

Source: QEMU docs/system/tls.rst; qapi TlsCredsX509Properties, AuthZSimpleProperties.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from labctl.errors import LabError
from labctl.model.json import JsonObject
from labctl_server.qemu.monitor import Monitor

Endpoint = Literal["client", "server"]

PLAIN: JsonObject = {"tls-creds": "", "tls-hostname": "", "tls-authz": ""}
"""The parameters of a stream that is not encrypted."""


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """A host's certificate, as QEMU wants to find it: under fixed names in a folder.

    Args:
        folder: where the links are.
        certificate: the host's certificate.
        key: its key.
        authority: the lab's authority's certificate.
    """

    folder: Path
    certificate: Path
    key: Path
    authority: Path

    def lay_out(self) -> None:
        """Make the links; those that are there are made anew."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        links = {"ca-cert.pem": self.authority}
        for endpoint in ("client", "server"):
            links |= {f"{endpoint}-cert.pem": self.certificate, f"{endpoint}-key.pem": self.key}
        for name, target in links.items():
            (self.folder / name).unlink(missing_ok=True)
            (self.folder / name).symlink_to(target.absolute())

    async def give(self, monitor: Monitor, migration: str, endpoint: Endpoint, peer: str) -> JsonObject:
        """Give QEMU the certificate; returns the migration's parameters.

        Args:
            monitor: QEMU's.
            migration: the migration's id, which names what QEMU is given.
            endpoint: client for the source, server for the destination.
            peer: the other host, who must show its certificate.

        Raises:
            LabError: QEMU cannot read it.
        """
        await monitor.execute(
            "object-add",
            {
                "qom-type": "tls-creds-x509",
                "id": _credentials(migration),
                "dir": str(self.folder),
                "endpoint": endpoint,
                "verify-peer": True,
                "sanity-check": False,
            },
        )
        if endpoint == "client":
            return {"tls-creds": _credentials(migration), "tls-hostname": peer, "tls-authz": ""}
        await monitor.execute(
            "object-add", {"qom-type": "authz-simple", "id": _guard(migration), "identity": f"CN={peer}"}
        )
        return {"tls-creds": _credentials(migration), "tls-hostname": "", "tls-authz": _guard(migration)}


async def take_back(monitor: Monitor, migration: str) -> None:
    """Have QEMU forget what it was given; what it never had is fine."""
    with suppress(LabError):
        await monitor.execute("migrate-set-parameters", PLAIN)
    for name in (_credentials(migration), _guard(migration)):
        with suppress(LabError):
            await monitor.execute("object-del", {"id": name})


def _credentials(migration: str) -> str:
    return f"tls-{migration}"


def _guard(migration: str) -> str:
    return f"guard-{migration}"
