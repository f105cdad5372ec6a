"""How much room a thin unit has left, counted, and told when a threshold is crossed (SBC-3 4.7.3.7)."""

from __future__ import annotations

from labemu_scsi.nexus import SOFT_THRESHOLD, Nexus
from labemu_scsi.threshold import AVAILABLE, USED
from labemu_scsi.unit import LogicalUnit


def resources(unit: LogicalUnit) -> dict[int, int]:
    """Threshold sets that are free and in use; a set that is used in part is used."""
    shift = unit.shift + unit.threshold_exponent
    used = -(-unit.store.allocated() >> shift)
    return {AVAILABLE: max(0, (unit.store.size >> shift) - used), USED: used}


def check(unit: LogicalUnit, nexus: Nexus) -> None:
    """Establish THIN PROVISIONING SOFT THRESHOLD REACHED where one was crossed: for all, or for this nexus alone (SITUA)."""
    amounts = resources(unit)
    for each in unit.mode.thresholds:
        reached = each.enabled and each.reached(amounts[each.resource])
        if reached and not each.struck:
            if unit.mode.single_attention:
                unit.attentions.establish(nexus, SOFT_THRESHOLD)
            else:
                unit.attentions.establish_for_others(None, SOFT_THRESHOLD)
        each.struck = reached
