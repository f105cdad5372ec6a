"""A logical unit: its identity, its settings and the state that commands share.

No command is implemented here; groups of commands are, one file each, and they take the unit as their first argument.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from labemu_scsi.command import Deferred, Interceptor, Outcome, Response
from labemu_scsi.copy_log import CopyLog
from labemu_scsi.limits import MAX_TRANSFER_BYTES, THRESHOLD_SET_BYTES
from labemu_scsi.nexus import CAPACITY_CHANGED, DEVICE_RESET, MEDIUM_CHANGED, Attentions, Nexus
from labemu_scsi.persistent_state import PersistentReservations, StateStore
from labemu_scsi.ports import PortGroup
from labemu_scsi.sense import WriteProtected
from labemu_scsi.threshold import ORDER, Threshold
from labemu_scsi.wipe import Wipe
from labemu_store.block import BlockStore, Operation, VectoredStore

_NAA_LOCAL: Final = 0x3  # NAA 3h, locally assigned: 60 bits that we choose (SPC-4 7.8.6.6.4)


def derive_naa(seed: str) -> bytes:
    """A stable 8-byte NAA identifier from a name that is unique on the site."""
    digest = hashlib.sha256(seed.encode()).digest()
    return bytes(((_NAA_LOCAL << 4) | (digest[0] & 0x0F),)) + digest[1:8]


@dataclass(kw_only=True)
class ModeSettings:
    """What MODE SELECT can change; a reset brings the defaults back."""

    descriptor_sense: bool = False
    software_write_protect: bool = False
    task_aborted_status: bool = False
    write_cache: bool = True
    single_attention: bool = False  # SITUA
    thresholds: list[Threshold] = field(default_factory=lambda: [Threshold(resource=each) for each in ORDER])


class LogicalUnit:
    """A disk.

    Args:
        store: what it keeps its blocks in.
        serial: the unit serial number.
        naa: 8 or 16 bytes of an NAA designator; derived from the serial when None.
        block_size: bytes, 512 or 4096.
        physical_block_size: bytes that the medium would write at a time, a power of two and no less than `block_size`;
            told in READ CAPACITY(16), so that file systems and partitions align to it.
        thin: whether it claims logical block provisioning.
        removable: whether the medium can be ejected.
        read_only: write-protected.
        vendor: up to 8 characters.
        product: up to 16 characters.
        revision: up to 4 characters.
        state: where its persistent reservations are kept through a loss of power; None refuses to.
    """

    def __init__(
        self,
        store: BlockStore,
        *,
        serial: str,
        naa: bytes | None = None,
        block_size: int = 512,
        physical_block_size: int = 4096,
        thin: bool = True,
        removable: bool = False,
        read_only: bool = False,
        vendor: str = "LABCTL",
        product: str = "VIRTUAL-DISK",
        revision: str = "1.0",
        state: StateStore | None = None,
    ) -> None:
        if block_size not in (512, 4096):
            raise ValueError("block_size is 512 or 4096")
        if physical_block_size < block_size or physical_block_size.bit_count() != 1:
            raise ValueError("physical_block_size is a power of two and no less than block_size")
        self.store = store
        self.serial = serial
        self.naa = naa if naa is not None else derive_naa(serial)
        self.block_size = block_size
        self.shift = block_size.bit_length() - 1
        self.threshold_exponent = THRESHOLD_SET_BYTES.bit_length() - 1 - self.shift
        self.physical_exponent = physical_block_size.bit_length() - 1 - self.shift
        self.thin = thin and store.capabilities.thin
        self.removable = removable
        self.read_only = read_only or store.capabilities.read_only
        self.vendor = vendor
        self.product = product
        self.revision = revision
        self.max_transfer = MAX_TRANSFER_BYTES >> self.shift
        self.attentions = Attentions(self.detach)
        self.mode = ModeSettings()
        self.reserved_by: Nexus | None = None  # RESERVE(6)
        self.persistent = PersistentReservations(state)
        self.removal_prevented_by: set[Nexus] = set()
        self.copies = CopyLog()
        self.wipe: Wipe | None = None
        self.wipe_seconds = 0.0
        self.loaded = True
        self.faults: Interceptor | None = None
        self.watch: Interceptor | None = None
        self.guarded = self.plain = False
        self.atomic = threading.Lock()  # read-modify-write against writes on other threads
        self.refresh()

    @property
    def blocks(self) -> int:
        """Capacity in logical blocks."""
        return self._blocks

    def refresh(self) -> None:
        """Read again what the store says of itself; call it after a filter was switched or the store was resized."""
        self._blocks = self.store.size >> self.shift
        capabilities = self.store.capabilities
        self.blocking = capabilities.blocking
        self.delays = capabilities.delays
        self.inline = not (self.blocking or self.delays)
        self.update_guard()

    @property
    def armed(self) -> bool:
        """Whether a threshold is to be looked at."""
        return any(each.enabled for each in self.mode.thresholds)

    def update_guard(self) -> None:
        """Bring up to date what spares the fast paths a look at everything that may stand in a command's way.

        `guarded`: some command may be refused. `plain`: nothing but the range, the mode and a pending attention stands between a
        READ or WRITE and the store, whose vectored calls may be made at once. Whatever may come between clears it here.
        """
        self.guarded = (
            self.reserved_by is not None
            or self.persistent.holder is not None
            or not self.loaded
            or self.wipe is not None
            or self.armed
            or self.faults is not None
            or self.watch is not None
        )
        self.plain = False
        if self.inline and not self.guarded and isinstance(self.store, VectoredStore) and self.store.vectored:
            self.plain = True
            self.vectored = self.store

    def set_faults(self, faults: Interceptor | None) -> None:
        """Let every command pass through ordered faults, or no more."""
        self.faults = faults
        self.update_guard()

    def set_watch(self, watch: Interceptor | None) -> None:
        """Let every command that is done, be it as faults order, be looked at; or no more."""
        self.watch = watch
        self.update_guard()

    def check_writable(self) -> None:
        """Raise WriteProtected unless it may be written."""
        if self.read_only or self.mode.software_write_protect:
            raise WriteProtected()

    def perform(self, operation: Operation, offset: int, length: int, work: Callable[[], Response]) -> Outcome:
        """Do `work` now if the store answers at once, else hand it back to be done elsewhere."""
        if self.inline and operation is not Operation.FLUSH:
            return work()
        delay = self.store.latency(operation, offset, length) if self.delays else 0.0
        blocking = self.blocking or operation is Operation.FLUSH
        return Deferred(work, delay, blocking)

    def groups(self) -> dict[int, PortGroup]:
        """The target port groups that it is reached through, of all its devices, by identifier."""
        return {number: group for home in self.attentions.homes for number, group in home.groups.items()}

    def detach(self, nexus: Nexus) -> None:
        """A nexus is lost (SAM-5 6.3.4): what hung on it goes; persistent reservations stay."""
        self.attentions.detach(nexus)
        self.removal_prevented_by.discard(nexus)
        self.copies.detach(nexus)
        if self.reserved_by is nexus:
            self.reserved_by = None
            self.update_guard()

    def reset(self) -> None:
        """A logical unit reset (SAM-5 6.3.3); persistent reservations stay, and every nexus is told, also who ordered it."""
        self.reserved_by = None
        self.removal_prevented_by.clear()
        self.mode = ModeSettings()
        self.update_guard()
        self.attentions.establish_for_others(None, DEVICE_RESET)

    def resize(self, size: int) -> None:
        """Grow or shrink to `size` bytes, and tell every nexus."""
        self.store.resize(size)
        self.refresh()
        self.attentions.establish_for_others(None, CAPACITY_CHANGED)

    def load(self, *, loaded: bool, nexus: Nexus | None = None) -> None:
        """Insert or eject the medium; every nexus but the one that ordered it is told of a new medium."""
        if loaded and not self.loaded:
            self.attentions.establish_for_others(nexus, MEDIUM_CHANGED)
        self.loaded = loaded
        self.update_guard()
