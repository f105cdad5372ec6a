"""Rates from two answers at /v1/metrics."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.contracts.metrics import Metrics
from labctl_server.top.rates import Rates, rates


def answer(time: float, fill: Any) -> dict[str, Any]:
    metrics = Metrics()
    for node in ("esx1", "esx2", "san1"):
        metrics.gauge("labctl_agent_up", "", float(node != "esx2"), node=node)
    for kind, name in (("host", "esx1"), ("host", "esx2"), ("array", "san1"), ("vm", "web1")):
        metrics.gauge("labctl_resource_state", "", 1.0, kind=kind, name=name, state="running")
    fill(metrics)
    return {"time": time, "metrics": metrics.to_json(), "silent": ["esx2"]}


def web1(cpu: float, reads: float, seconds: float) -> Any:
    def fill(metrics: Metrics) -> None:
        labels = {"host": "esx1", "vm": "web1"}
        metrics.gauge("labctl_vm_running", "", 1.0, **labels)
        metrics.gauge("labctl_vm_running", "", 0.0, host="esx1", vm="off1")
        metrics.counter("labctl_vm_cpu_seconds_total", "", cpu, **labels)
        for disk in ("disk0", "disk1"):
            metrics.counter("labctl_vm_disk_reads_total", "", reads, **labels, disk=disk)
            metrics.counter("labctl_vm_disk_read_seconds_total", "", seconds, **labels, disk=disk)
        for link, rate in (("vmnic0", 1.0), ("vmk0", 10.0), ("vmk1", 100.0), ("web1.0", 1000.0)):
            metrics.counter("labctl_link_receive_bytes_total", "", reads * rate, node="esx1", link=link)
        metrics.gauge("labctl_array_sessions", "", 2, array="san1", protocol="iscsi")
        metrics.gauge("labctl_array_sessions", "", 1, array="san1", protocol="nfs")
        metrics.counter("labctl_array_cpu_seconds_total", "", cpu / 2, array="san1")

    return fill


def between() -> Rates:
    return rates(answer(100.0, web1(5.0, 1000, 1.0)), answer(102.0, web1(6.0, 1100, 1.5)))


def test_a_vms_disks_are_added_up_and_its_latency_is_the_time_of_a_request() -> None:
    (row,) = between().vms
    assert (row.name, row.host, row.cpu, row.reads) == ("web1", "esx1", 0.5, 100.0)
    assert row.latency == pytest.approx(0.005)


def test_a_hosts_links_are_told_apart_by_what_they_are_for() -> None:
    esx1, esx2 = between().hosts
    assert (esx1.uplink_receive, esx1.kernel_receive, esx1.vms) == (50.0, 5500.0, 1)
    assert (esx1.up, esx2.up) == (True, False)


def test_an_array_has_its_sessions_of_both_protocols() -> None:
    (row,) = between().arrays
    assert (row.sessions, row.cpu) == (3, 0.25)


def test_a_counter_that_fell_began_anew_and_one_that_is_new_has_no_rate_yet() -> None:
    restarted = rates(answer(0.0, web1(50.0, 0, 0)), answer(2.0, web1(1.0, 0, 0)))
    assert restarted.vms[0].cpu == 0.5
    appeared = rates(answer(0.0, lambda metrics: None), answer(2.0, web1(50.0, 10, 1)))
    assert (appeared.vms[0].cpu, appeared.vms[0].reads) == (0.0, 0.0)


@given(st.lists(st.floats(0, 1e12), min_size=4, max_size=4), st.floats(0, 1e9), st.floats(0, 1e6))
def test_no_rate_is_negative_whatever_the_counters_do(values: list[float], start: float, later: float) -> None:
    first, second, third, fourth = values
    found = rates(answer(start, web1(first, second, first)), answer(start + later, web1(third, fourth, third)))
    rows = [*found.vms, *found.hosts, *found.arrays]
    assert all(value >= 0 for row in rows for value in vars(row).values() if isinstance(value, float))
