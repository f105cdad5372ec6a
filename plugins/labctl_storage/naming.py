"""Names on the wire and on disk. Pure."""

from __future__ import annotations

import hashlib
from typing import Literal

TARGET_PREFIX = "iqn.2026-11.lab"
"""The naming authority of every target and initiator (RFC 7143 4.2.7.4: type, date, reversed domain)."""

ISCSI_PORT = 3260
"""The port that IANA assigned to iSCSI (RFC 7143 3.2.5)."""

Protocol = Literal["iscsi", "nfs"]


def target_name(lab: str, array: str, datastore: str) -> str:
    """The iSCSI name of a datastore's target."""
    return f"{TARGET_PREFIX}.{lab}:{array}.{datastore}"


def export_path(datastore: str) -> str:
    """The path under which a datastore is exported."""
    return f"/{datastore}"


def volume_file(name: str, protocol: Protocol) -> str:
    """The file of a volume in its datastore's folder."""
    return f"{name}.qcow2" if protocol == "nfs" else f"{name}.img"


def serial(lab: str, datastore: str, volume: str) -> str:
    """A LUN's serial number: the same each time, another for every lab."""
    return hashlib.sha256(f"{lab}/{datastore}/{volume}".encode()).hexdigest()[:16]
