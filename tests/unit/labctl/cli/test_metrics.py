"""`labctl metrics`: Prometheus's text, read back by its own parser, and where it may be served."""

from __future__ import annotations

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from labctl.cli.metrics import _address, _text
from labctl.contracts.metrics import Metrics
from labctl.errors import UsageError


class Client:
    def get(self, path: str) -> object:
        assert path == "/v1/metrics"
        metrics = Metrics()
        metrics.counter("labctl_vm_cpu_seconds_total", 'Processor time, "all" of it\n', 1.5, vm='we"b\\1')
        metrics.counter("labctl_vm_cpu_seconds_total", "", 2.5, vm="db1")
        metrics.gauge("labctl_host_cpus", "Processors", 2, host="esx1")
        return {"time": 0.0, "metrics": metrics.to_json(), "silent": []}


def test_the_text_is_what_prometheus_reads() -> None:
    families = {family.name: family for family in text_string_to_metric_families(_text(Client()).decode())}  # type: ignore[arg-type]
    cpu = families["labctl_vm_cpu_seconds"]
    assert (cpu.type, families["labctl_host_cpus"].type) == ("counter", "gauge")
    assert {(each.name, each.labels["vm"], each.value) for each in cpu.samples} == {
        ("labctl_vm_cpu_seconds_total", 'we"b\\1', 1.5),
        ("labctl_vm_cpu_seconds_total", "db1", 2.5),
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("9464", "'9464' is no address and port"),
        ("localhost:9464", "'localhost:9464' is no address and port"),
        ("127.0.0.1:x", "'127.0.0.1:x' is no address and port"),
        ("0.0.0.0:9464", "0.0.0.0 is not on loopback, and metrics are served without a password"),
        ("[::]:1", ":: is not on loopback, and metrics are served without a password"),
    ],
)
def test_they_are_served_on_loopback_alone(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(said)}$") as caught:
        _address(text)
    assert "127.0.0.1" in str(caught.value.hint)


def test_addresses_of_both_families() -> None:
    assert _address("127.0.0.1:9464") == ("127.0.0.1", 9464)
    assert _address("[::1]:80") == ("::1", 80)
