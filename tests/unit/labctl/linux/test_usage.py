"""What /proc tells of processes and links."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from labctl.linux.usage import LinkUsage, link_usage, process_usage

TABLE = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:      11       12    0    0    0     0          0         0       11       12    0    0    0     0       0          0
web1.0:     101      102    0    3    0     0          0         0      201      202    0    4    0     0       0          0
"""


def test_links_have_their_counters_by_name(tmp_path: Path) -> None:
    (tmp_path / "dev").write_text(TABLE)
    assert link_usage(tmp_path / "dev")["web1.0"] == LinkUsage(
        received_bytes=101, received_packets=102, received_dropped=3, sent_bytes=201, sent_packets=202, sent_dropped=4
    )
    assert "lo" in link_usage()


def test_a_process_that_works_takes_processor_time_and_one_that_ended_is_none() -> None:
    before = process_usage(os.getpid())
    begun = time.process_time()
    while time.process_time() - begun < 0.2:
        pass
    after = process_usage(os.getpid())
    assert before is not None
    assert after is not None
    assert after.cpu - before.cpu > 0.1
    assert 1 << 20 < after.memory < 4 << 30
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert process_usage(ended.pid) is None
