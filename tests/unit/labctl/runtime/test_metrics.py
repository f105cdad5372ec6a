"""labd's metrics: all agents', and who was silent."""

from __future__ import annotations

from typing import Any

from labctl.contracts.metrics import Metrics
from labctl.errors import LabError
from labctl.model.inventory import Inventory
from labctl.runtime.metrics import collect
from labctl.runtime.view import AGENT_TYPE, CONNECTED


class Agent:
    def __init__(self, node: str) -> None:
        self.node = node

    async def call(self, method: str, path: str, body: object = None, *, timeout: float = 30.0) -> Any:
        assert (method, path) == ("GET", "/v1/metrics")
        if self.node == "esx2":
            raise LabError("the agent of esx2 does not answer")
        metrics = Metrics()
        metrics.gauge("labctl_host_cpus", "Processors", 2, host=self.node)
        return {"metrics": metrics.to_json()}


def link(node: str) -> Agent:
    assert node != "esx3", "it is known not to be connected"
    return Agent(node)


async def test_every_metric_is_told_once_with_all_agents_values_and_the_silent_are_named() -> None:
    inventory = Inventory()
    for node, connection in (("esx1", CONNECTED), ("esx2", CONNECTED), ("esx3", "Not responding"), ("esx4", CONNECTED)):
        inventory.put(f"agent:{node}", AGENT_TYPE, {"node": node, "connection": connection})
        inventory.put(f"host.{node}", "host", {"name": node, "state": "running"})
    answer = await collect(inventory, link)
    told = {metric["name"]: metric["samples"] for metric in answer["metrics"]}  # type: ignore[index, union-attr]
    assert len(told) == len(answer["metrics"]) == 3  # type: ignore[arg-type]
    assert [(each["labels"]["host"], each["value"]) for each in told["labctl_host_cpus"]] == [("esx1", 2), ("esx4", 2)]
    assert {each["labels"]["node"]: each["value"] for each in told["labctl_agent_up"]} == {
        "esx1": 1, "esx2": 0, "esx3": 0, "esx4": 1,
    }  # fmt: skip
    assert answer["silent"] == ["esx2", "esx3"]
    assert {"kind": "host", "name": "esx1", "state": "running"} in [
        each["labels"] for each in told["labctl_resource_state"]
    ]
