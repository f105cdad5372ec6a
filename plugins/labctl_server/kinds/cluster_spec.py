"""The table of kind `cluster`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from labctl.model.reference import Ref
from labctl.model.resource import Spec


class ClusterSpec(Spec):
    """The table `[cluster.NAME]`."""

    hosts: Annotated[tuple[Annotated[str, Ref("host")], ...], Field(description="Its hosts; a host is in one cluster.")]
    ha: Annotated[bool, Field(description="Restart VMs of a failed host elsewhere. Recorded; not acted upon yet.")] = (
        False
    )
    drs: Annotated[
        Literal["off", "manual", "partially-automated", "fully-automated"],
        Field(
            description="How far load is balanced. Initial placement is always automatic; the rest is recorded only."
        ),
    ] = "off"
