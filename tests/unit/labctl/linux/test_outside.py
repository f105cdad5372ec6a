"""Threads that are outside stay there, and so does what they start."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

import pytest

from labctl.linux.outside import threads_here
from labctl.linux.syscalls import CLONE_NEWNET, unshare


def here() -> str:
    return str(Path("/proc/thread-self/ns/net").readlink())


def test_all_threads_are_there_at_once() -> None:
    before = threading.active_count()
    with threads_here(3):
        assert threading.active_count() == before + 3


@pytest.mark.needs("root")
def test_they_and_their_children_stay_in_the_namespace_in_which_they_were_made() -> None:
    found: dict[str, str] = {}

    def first() -> None:
        found["before"] = here()
        with threads_here(2) as outside:
            unshare(CLONE_NEWNET)
            found["after"] = here()
            found["thread"] = outside.submit(here).result()
            found["process"] = outside.submit(
                lambda: subprocess.check_output(["readlink", "/proc/self/ns/net"], text=True).strip()
            ).result()

    thread = threading.Thread(target=first)
    thread.start()
    thread.join()
    assert found["before"] == found["thread"] == found["process"]
    assert found["after"] != found["before"]
