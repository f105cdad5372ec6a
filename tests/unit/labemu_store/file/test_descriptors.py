from __future__ import annotations

import resource

import pytest

from labemu_store.file.local import descriptors


@pytest.mark.parametrize(("allowed", "nodes"), [(256, 400), (1024, 400), (65536, 2048), (1 << 20, 8192)])
def test_a_store_holds_open_what_the_processs_limit_allows_several_of_them(monkeypatch, allowed, nodes):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (allowed, 1 << 20))
    assert descriptors.default_limit() == nodes
