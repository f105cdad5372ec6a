"""Whose traffic it is: from addresses, initiator names, LUNs and paths to hosts, VMs, datastores and disks.

A capture that labctl makes holds these names (an annotation `names`), so a file tells its story on any machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from labctl.trace.command import Owner


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A LUN, an export, or a folder below an export, and whose it is.

    Args:
        array: the array's name.
        datastore: the datastore that is on it, or "".
        vm: the VM that it is for alone, or "".
        disk: the disk of that VM, or "".
    """

    array: str = ""
    datastore: str = ""
    vm: str = ""
    disk: str = ""


@dataclass(frozen=True, kw_only=True)
class Names:
    """Everything that a lab knows about its addresses.

    Args:
        hosts: IP address → host's or guest's name.
        networks: IP address → the network's name.
        initiators: iSCSI initiator name → (host, vm); vm may be "".
        luns: (target name, LUN) → volume.
        exports: (server address, path of a folder) → volume; the longest path that fits counts.
        homes: VM → the host that it runs on. Where a capture began after the login or the mount, it is by this, and by there being one
            disk only that it can be, that an owner is found.
    """

    hosts: dict[str, str] = field(default_factory=dict)
    networks: dict[str, str] = field(default_factory=dict)
    initiators: dict[str, tuple[str, str]] = field(default_factory=dict)
    luns: dict[tuple[str, int], Volume] = field(default_factory=dict)
    exports: dict[tuple[str, str], Volume] = field(default_factory=dict)
    homes: dict[str, str] = field(default_factory=dict)

    def of_lun(self, client: str, server: str, initiator: str, target: str, lun: int | None) -> Owner:
        """Whose a SCSI command is.

        Args:
            client: the initiator's IP address.
            server: the portal's IP address.
            initiator: the initiator's iSCSI name, or "" where the login was not seen.
            target: the target's iSCSI name, or "".
            lun: the LUN, or None for a request that has none.
        """
        volume = Volume() if lun is None else self.luns.get((target, lun), Volume())
        if lun is not None and not target:
            volume = self._only(client, server, (each for (_, number), each in self.luns.items() if number == lun))
        host, vm = self.initiators.get(initiator, ("", ""))
        return self._owner(client, server, volume, host=host, vm=vm)

    def of_path(self, client: str, server: str, path: str) -> Owner:
        """Whose an NFS call is.

        Args:
            client: the client's IP address.
            server: the server's IP address.
            path: the file's path from the server's root, or "" where it is not known.
        """
        folder = path.rstrip("/")
        while folder:
            if (volume := self.exports.get((server, folder))) is not None:
                return self._owner(client, server, volume)
            folder = folder.rpartition("/")[0]
        if not path:
            return self._owner(client, server, self._only(client, server, self._files(server)))
        return self._owner(client, server, Volume())

    def _files(self, server: str) -> Iterator[Volume]:
        return (each for (address, _), each in self.exports.items() if address == server and each.vm)

    def _only(self, client: str, server: str, volumes: Iterable[Volume]) -> Volume:
        """The only one that a client can mean: on this array, and of a VM on that host."""
        host, array = self.hosts.get(client, ""), self.hosts.get(server, "")
        fit = [
            volume
            for volume in volumes
            if volume.array in ("", array) and (not volume.vm or self.homes.get(volume.vm, host) == host)
        ]
        return fit[0] if len(fit) == 1 else Volume()

    def _owner(self, client: str, server: str, volume: Volume, *, host: str = "", vm: str = "") -> Owner:
        return Owner(
            host=host or self.hosts.get(client, ""),
            vm=vm or volume.vm,
            datastore=volume.datastore,
            disk=volume.disk,
            network=self.networks.get(server, ""),
            array=volume.array or self.hosts.get(server, ""),
        )

    def to_json(self) -> dict[str, object]:
        """These names as an annotation holds them."""
        return {
            "hosts": self.hosts,
            "networks": self.networks,
            "initiators": {name: list(pair) for name, pair in self.initiators.items()},
            "luns": [[target, lun, vars(volume)] for (target, lun), volume in self.luns.items()],
            "exports": [[server, path, vars(volume)] for (server, path), volume in self.exports.items()],
            "homes": self.homes,
        }

    @classmethod
    def from_json(cls, data: dict[str, object]) -> Names:
        """The names that an annotation holds.

        Raises:
            ValueError: it holds something else.
        """
        try:
            return cls(
                hosts=_words(data.get("hosts", {})),
                networks=_words(data.get("networks", {})),
                homes=_words(data.get("homes", {})),
                initiators={
                    str(name): (str(pair[0]), str(pair[1])) for name, pair in _items(data.get("initiators", {}))
                },
                luns={(str(row[0]), int(str(row[1]))): Volume(**_words(row[2])) for row in _rows(data.get("luns", []))},
                exports={
                    (str(row[0]), str(row[1])): Volume(**_words(row[2])) for row in _rows(data.get("exports", []))
                },
            )
        except (TypeError, IndexError, AttributeError) as error:
            raise ValueError(f"not the names of a lab: {error}") from error


def _items(value: object) -> list[tuple[str, list[object]]]:
    if not isinstance(value, dict):
        raise TypeError("a table was expected")
    return list(value.items())


def _words(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise TypeError("a table was expected")
    return {str(key): str(word) for key, word in value.items()}


def _rows(value: object) -> list[list[object]]:
    if not isinstance(value, list):
        raise TypeError("a list was expected")
    return [list(row) for row in value]
