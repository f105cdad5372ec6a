"""Numbers in few columns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl_server.top import cells
from labctl_server.top.rates import ArrayRow, HostRow, VmRow


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.4, "0"),
        (999.4, "999"),
        (999.6, "1.0k"),
        (1234, "1.2k"),
        (12_345, "12k"),
        (5e6, "5.0M"),
        (3e15, "3000.0T"),
    ],
)
def test_numbers_a_second(value: float, text: str) -> None:
    assert cells.count(value) == text


def test_memory_is_counted_by_1024_and_time_in_milliseconds() -> None:
    assert (cells.size(145 << 20), cells.size(2 << 30)) == ("145M", "2.0G")
    assert (cells.milliseconds(0), cells.milliseconds(0.00042), cells.milliseconds(0.0131)) == ("-", "0.42", "13")
    assert (cells.share(0.5, 2), cells.share(1, 0)) == ("25%", "-")


@given(st.floats(0, 9e13))
def test_no_number_is_wider_than_its_column(value: float) -> None:
    assert len(cells.count(value)) <= 5


def test_every_line_has_its_columns_also_of_who_does_not_answer() -> None:
    for up in (True, False):
        assert len(cells.host_cells(HostRow(name="esx1", up=up))) == len(cells.HOST_COLUMNS)
        assert len(cells.array_cells(ArrayRow(name="san1", up=up))) == len(cells.ARRAY_COLUMNS)
    assert "not responding" in cells.host_cells(HostRow(name="esx1", up=False))
    assert len(cells.vm_cells(VmRow(name="web1", host="esx1"))) == len(cells.VM_COLUMNS)


@pytest.mark.parametrize("order", sorted(cells.ORDERS))
def test_vms_are_sorted_by_each_order_with_most_first(order: str) -> None:
    busy = VmRow(name="z", host="h", cpu=1, memory=1, read=1, receive=1, latency=1)
    idle = [VmRow(name=name, host="h") for name in ("b", "a")]
    assert [row.name for row in cells.sorted_vms([*idle, busy], order)] == ["z", "a", "b"]
