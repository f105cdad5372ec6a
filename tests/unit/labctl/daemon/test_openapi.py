"""What labd offers is described, whole, where people read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from labctl.daemon.app import Endpoints
from labctl.daemon.endpoints import ENDPOINTS
from labctl.daemon.openapi import text

REFERENCE = Path(__file__).parents[4] / "docs" / "reference" / "openapi.json"


def test_reference_is_what_the_table_says() -> None:
    assert REFERENCE.read_text() == text(), "run `python -m labctl.daemon.openapi`"


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_every_endpoint_is_served_and_described(endpoint) -> None:  # type: ignore[no-untyped-def]
    assert callable(getattr(Endpoints, endpoint.name))
    assert endpoint.summary.endswith(".")
