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
            description="How far load is balanced: recommendations to look at and apply, or (fully-automated) applied by itself. "
            "Initial placement is always automatic."
        ),
    ] = "off"
    drs_threshold: Annotated[
        int,
        Field(ge=1, le=5, description="Which recommendations are made: 1, only what rules demand, to 5, every gain."),
    ] = 3
    drs_interval: Annotated[
        float, Field(ge=1, le=3600, description="Seconds between two looks by itself; load is measured in between.")
    ] = 60
