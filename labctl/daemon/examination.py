"""What `labctl doctor` looks at: the kernel and our rights, then what each plugin needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from labctl.linux import probes
from labctl.plugin.api import DoctorFinding
from labctl.plugin.loader import load_plugins


@dataclass(frozen=True, kw_only=True)
class Examination:
    """The findings.

    Args:
        rights: of the core: rights and the kernel.
        tools: of the plugins: tools, mostly.
    """

    rights: Sequence[DoctorFinding]
    tools: Sequence[DoctorFinding]


def examine() -> Examination:
    """Look at the machine; takes a second or so."""
    plugins = load_plugins()
    rights = [DoctorFinding(**vars(fact)) for fact in probes.facts()]
    tools = list(plugins.doctor_findings())
    tools += [
        DoctorFinding(
            name=f"plugin {failure.plugin}", ok=False, detail=failure.message, mend=failure.hint or "", required=False
        )
        for failure in plugins.examine()
    ]
    return Examination(rights=rights, tools=tools)
