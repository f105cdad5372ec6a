"""labd's way to the agents: over the management network, from labd's own node, and in no other way.

labd's main thread moves into the namespace of node `labd` as soon as that exists, and again when it was made anew; a connection made
before would leave from the machine's own network, where no agent is.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from labctl.agent.client import AgentClient, AgentUnreachableError
from labctl.errors import LabError
from labctl.linux import namespaces
from labctl.model.json import Json
from labctl.runtime.agents.authority import Authority, Identity

OWN_NAMESPACE = Path("/proc/thread-self/ns/net")


class OwnNode:
    """The namespace that labd lives in.

    Args:
        path: its file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def ensure_inside(self) -> bool:
        """Move the calling (main) thread there unless it is there; False while there is no such namespace."""
        if not namespaces.exists(self._path):
            return False
        if self._path.stat().st_ino != OWN_NAMESPACE.stat().st_ino:
            namespaces.enter(self._path)
        return True


class AgentLink:
    """A connection to one agent (labctl.plugin.api.AgentCalls) that leaves from labd's own node.

    Args:
        client: the connection.
        own: labd's node.
        node: the agent's node, for messages.
    """

    def __init__(self, client: AgentClient, own: OwnNode, node: str) -> None:
        self._client = client
        self._own = own
        self._node = node

    async def call(self, method: str, path: str, body: Json = None, *, timeout: float = 30.0) -> Json:
        """See labctl.plugin.api.AgentCalls."""
        self._require_network()
        return await self._client.call(method, path, body, timeout=timeout)

    async def events(self, *, instance: str | None, since: int | None) -> AsyncGenerator[dict[str, Any] | None, None]:
        """See labctl.agent.client.AgentClient.events."""
        self._require_network()
        async with contextlib.aclosing(self._client.events(instance=instance, since=since)) as events:
            async for event in events:
                yield event

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()

    def _require_network(self) -> None:
        if not self._own.ensure_inside():
            raise AgentUnreachableError(
                f"the agent of {self._node} cannot be reached: labd has no management network yet",
                hint="a lab with hosts or arrays needs a network of role management",
            )


class Connections:
    """The connections to all agents of a lab.

    Args:
        lab: the lab's name.
        directory: the lab's folder.
        own: labd's node.
    """

    def __init__(self, lab: str, directory: Path, own: OwnNode) -> None:
        self.authority = Authority(directory / "ca", lab)
        self._identity_folder = directory / "nodes" / "labd"
        self._own = own
        self._links: dict[str, AgentLink] = {}
        self._addresses: dict[str, tuple[str, int]] = {}

    async def open(self, node: str, address: str, port: int) -> AgentLink:
        """The connection to a node's agent at that address, made (or made anew) where needed."""
        known = self._links.get(node)
        if known is not None and self._addresses[node] == (address, port):
            return known
        await self.forget(node)
        identity = self._identity()
        client = AgentClient.with_certificate(
            node, address, port, certificate=identity.certificate, key=identity.key, authority=identity.authority
        )
        self._links[node] = AgentLink(client, self._own, node)
        self._addresses[node] = (address, port)
        return self._links[node]

    def get(self, node: str) -> AgentLink:
        """The connection to a node's agent.

        Raises:
            LabError: the node has no agent.
        """
        try:
            return self._links[node]
        except KeyError:
            raise LabError(
                f"{node} has no agent", hint="`labctl up` makes it; `labctl status` shows which there are"
            ) from None

    async def forget(self, node: str) -> None:
        """Close the connection to a node's agent."""
        link = self._links.pop(node, None)
        if link is not None:
            await link.close()

    async def close(self) -> None:
        """Close all."""
        for node in list(self._links):
            await self.forget(node)

    def _identity(self) -> Identity:
        return self.authority.issue(self._identity_folder, "labd", None, client=True)
