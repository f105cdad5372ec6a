"""Where an agent's files lie: `<lab dir>/nodes/<node>`."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class AgentFiles:
    """An agent's folder.

    Args:
        root: `<lab dir>/nodes/<node>`; everything in it goes with the unit.
    """

    root: Path

    @classmethod
    def of(cls, lab_directory: Path, node: str) -> AgentFiles:
        """The files of a node's agent."""
        return cls(lab_directory / "nodes" / node)

    @property
    def config(self) -> Path:
        """labctl.agent.config.AgentConfig as JSON."""
        return self.root / "agent.json"

    @property
    def log(self) -> Path:
        """Its standard output and error."""
        return self.root / "agent.log"

    @property
    def socket(self) -> Path:
        """Its unix socket."""
        return self.root / "agent.sock"

    @property
    def state(self) -> Path:
        """The agent's own folder, given to it as `directory`."""
        return self.root / "state"

    def has_token(self) -> bool:
        """Whether an agent was ever to be started."""
        return (self.root / "token").exists()

    def token(self) -> str:
        """What marks the agent's process in its environment; made, and written down, before the first spawn."""
        path = self.root / "token"
        try:
            return path.read_text("ascii")
        except FileNotFoundError:
            token = secrets.token_hex(16)
            write_whole(path, token.encode())
            return token


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file's content in one step, readable by its owner only."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    draft.replace(path)
