"""What an agent is told when it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict


class AgentConfig(BaseModel):
    """An agent's configuration file, written by the runtime.

    `directory` is the agent's own folder: it exists, belongs to the agent, survives the agent's restarts and goes with the unit.
    `namespace` is the node's network namespace, where the agent has to enter it itself (labctl.contracts.agent), else None.
    `socket` is a unix socket (0600) that offers the same interface as the network to whoever may read the folder.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    lab: str
    node: str
    address: str
    port: int
    certificate: Path
    key: Path
    authority: Path
    directory: Path
    socket: Path
    namespace: Path | None = None
    config: dict[str, Any]
