"""Which cluster is meant where none is named."""

from __future__ import annotations

from typing import Any

import pytest

from labctl.errors import NotRunningError, UsageError
from labctl_server.cli import cluster


class FakeDaemon:
    def __init__(self, *clusters: str) -> None:
        self._clusters = clusters

    def get(self, _path: str) -> dict[str, Any]:
        found = [{"kind": "cluster", "name": name} for name in self._clusters]
        return {"resources": [{"kind": "host", "name": "esx1"}, *found]}


def test_the_only_one_is_meant() -> None:
    assert cluster._only(FakeDaemon("prod")) == "prod"  # type: ignore[arg-type]


def test_of_several_one_is_to_be_named() -> None:
    with pytest.raises(UsageError, match=r"^say which cluster: prod, test$") as caught:
        cluster._only(FakeDaemon("prod", "test"))  # type: ignore[arg-type]
    assert caught.value.hint == "for example: labctl cluster drs prod"


def test_a_lab_may_have_none() -> None:
    with pytest.raises(NotRunningError, match=r"^the lab has no cluster$") as caught:
        cluster._only(FakeDaemon())  # type: ignore[arg-type]
    assert caught.value.hint == 'add one: [cluster.prod] with hosts = ["esx1", "esx2"]'
