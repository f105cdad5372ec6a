"""What the array was told to serve, kept in one file that is replaced atomically."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from labctl.errors import LabError


class ExportRecord(BaseModel):
    """What an export's clients may do; `clients` are networks, none for all, and `files` the most that it may hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    read_only: bool = False
    squash: Literal["none", "root", "all"] = "none"
    clients: tuple[str, ...] = ()
    files: int | None = None


class DatastoreRecord(BaseModel):
    """A datastore: a target (`where` is its name) or an export (`where` is its path). `size` is in bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    protocol: Literal["iscsi", "nfs"]
    size: int
    where: str
    export: ExportRecord = ExportRecord()


class VolumeRecord(BaseModel):
    """A disk on a datastore. `lun` is None on NFS; `size` is in bytes; `source` is what a new one starts with.

    `clone_of` is the volume and snapshot that a clone was made from; clones belong to no unit of the lab, and go with their datastore.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    datastore: str
    name: str
    size: int
    lun: int | None = None
    source: Path | None = None
    persistent: bool = False
    clone_of: str | None = None


class FaultRecord(BaseModel):
    """A fault that is set: its place in words and by names, the protocols that have it, the rule, and how often it struck by now."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    where: str
    datastore: str | None = None
    volume: str | None = None
    protocols: tuple[Literal["iscsi", "nfs"], ...]
    rule: dict[str, Any]
    hits: int = 0


class _State(BaseModel):
    datastores: dict[str, DatastoreRecord] = {}
    volumes: dict[str, VolumeRecord] = {}
    faults: dict[str, FaultRecord] = {}


class Registry:
    """The array's memory.

    Args:
        path: the file; made when something is first put.

    Raises:
        LabError: the file is there and cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._state = _State.model_validate_json(path.read_bytes()) if path.exists() else _State()
        except ValueError as error:
            raise LabError(
                f"the array's registry {path} is damaged: {error}",
                hint="move it away; `labctl up` configures the array again",
            ) from error

    @property
    def datastores(self) -> dict[str, DatastoreRecord]:
        """The datastores by name."""
        return self._state.datastores

    def volumes(self, datastore: str) -> list[VolumeRecord]:
        """The volumes of a datastore."""
        return [volume for volume in self._state.volumes.values() if volume.datastore == datastore]

    def volume(self, datastore: str, name: str) -> VolumeRecord | None:
        """One volume, or None."""
        return self._state.volumes.get(f"{datastore}/{name}")

    def put_datastore(self, record: DatastoreRecord) -> None:
        """Remember a datastore."""
        self._state.datastores[record.name] = record
        self._save()

    def drop_datastore(self, name: str) -> None:
        """Forget a datastore and its volumes."""
        self._state.datastores.pop(name, None)
        for volume in self.volumes(name):
            del self._state.volumes[f"{name}/{volume.name}"]
        self._save()

    def put_volume(self, record: VolumeRecord) -> None:
        """Remember a volume."""
        self._state.volumes[f"{record.datastore}/{record.name}"] = record
        self._save()

    def drop_volume(self, datastore: str, name: str) -> None:
        """Forget a volume."""
        if self._state.volumes.pop(f"{datastore}/{name}", None) is not None:
            self._save()

    @property
    def faults(self) -> dict[str, FaultRecord]:
        """The faults that are set, by id, in the order in which they were."""
        return self._state.faults

    def put_fault(self, record: FaultRecord) -> None:
        """Remember a fault."""
        self._state.faults[record.id] = record
        self._save()

    def drop_fault(self, rule_id: str) -> None:
        """Forget a fault."""
        if self._state.faults.pop(rule_id, None) is not None:
            self._save()

    def _save(self) -> None:
        draft = self._path.with_suffix(".new")
        with draft.open("wb") as file:
            file.write(self._state.model_dump_json(indent=1).encode())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
