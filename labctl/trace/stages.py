"""A server's own timestamps of a command, as annotations of kind `stages` carry them.

`data` has `array`, `protocol` (`iscsi`, `nfs`), `client` and `server` (address and port, as in `10.0.0.2:40001` and
`[fd00::2]:40001`), `tag` (the initiator task tag, or the XID), and of the STAGES those that the command passed, in nanoseconds since
1970 on the same clock as the packets. A tag comes again: the command is the one that was under way on that connection at `queued`.
"""

from __future__ import annotations

from typing import Final

STAGES: Final = ("queued", "started", "store-begin", "store-end", "responded")
"""In the order in which a command passes them.

`queued`: it was there whole, with its data. `started`: its execution began. `store-begin`, `store-end`: the backing store was first
called, and last returned. `responded`: its response was handed to the connection.
"""
