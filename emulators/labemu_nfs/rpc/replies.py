"""The duplicate request cache: a call that must not be done twice is answered twice with the first answer.

Theory: a client that reconnects resends what it has no answer to, with the same XID but from another port. So a call is recognised by the
client's address, XID, program, procedure and a hash of its whole message, never by the connection (RFC 1813 4.6 discusses the need).
A call that is still being worked on is not begun again; whoever asked last also gets the answer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from labemu_nfs.limits import MAX_REPLIES, REPLY_LIFETIME


class Entry:
    """A call that was begun; `reply` is None until it is done, and `waiting` are the others who asked meanwhile."""

    __slots__ = ("born", "reply", "waiting")

    def __init__(self, born: float) -> None:
        self.born = born
        self.reply: bytes | None = None
        self.waiting: list[object] = []


class ReplyCache:
    """Entries by call, bounded by number and age."""

    __slots__ = ("_entries", "hits")

    def __init__(self) -> None:
        self._entries: OrderedDict[Hashable, Entry] = OrderedDict()
        self.hits = 0

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, call: Hashable) -> Entry | None:
        """The entry of a call that was seen before."""
        entry = self._entries.get(call)
        if entry is not None:
            self.hits += 1
        return entry

    def forget(self, entry: Entry) -> None:
        """A call will never be answered: whoever asks again is a new caller."""
        for call, known in reversed(self._entries.items()):
            if known is entry:
                del self._entries[call]
                return

    def begin(self, call: Hashable, now: float) -> Entry:
        """Note a new call, and drop what is too old or too much."""
        entries = self._entries
        while entries:
            eldest = next(iter(entries.values()))
            if len(entries) < MAX_REPLIES and now - eldest.born < REPLY_LIFETIME:
                break
            entries.popitem(last=False)
        entry = entries[call] = Entry(now)
        return entry
