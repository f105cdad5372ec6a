"""A login phase: its text keys, its stages, and what they decide (RFC 7143 6 and 13)."""

from __future__ import annotations

from labctl.trace.limits import MAX_DETAIL_ITEMS, MAX_KEPT_BYTES, MAX_TEXT
from labctl.trace.protocols.iscsi.words import STAGES


def read_keys(data: bytes) -> dict[str, str]:
    """The keys and values of a text; of a key that comes again, as TargetAddress does, all values with commas between them."""
    keys: dict[str, str] = {}
    for item in data.split(b"\0"):
        key, equals, value = item.decode("utf-8", "replace").partition("=")
        if not equals or len(keys) >= MAX_DETAIL_ITEMS:
            continue
        keys[key[:MAX_TEXT]] = f"{keys[key]}, {value[:MAX_TEXT]}" if key in keys else value[:MAX_TEXT]
    return keys


class Login:
    """A login that goes on."""

    def __init__(self) -> None:
        self.keys: dict[str, str] = {}
        """What the initiator said last of each key."""
        self.answers: dict[str, str] = {}
        self.isid = self.tsih = 0
        self.joins = False
        """Whether it asks for a further connection of a session."""
        self.complete = False
        self._asked = b""
        self._answered = b""

    def request(self, fields: tuple[int, ...], data: bytes) -> dict[str, object]:
        """Take a request; its details."""
        keys, self._asked = _text(self._asked, fields, data)
        self.keys.update(keys)
        self.isid, tsih = fields[5] >> 16, fields[5] & 0xFFFF
        self.joins = tsih != 0
        return {"request": keys, **_stages(fields), "isid": f"{self.isid:012x}", "cid": fields[7] >> 16}

    def response(self, fields: tuple[int, ...], data: bytes) -> dict[str, object]:
        """Take a response; its details."""
        keys, self._answered = _text(self._answered, fields, data)
        self.answers.update(keys)
        self.tsih = fields[5] & 0xFFFF
        # 11.13.3: the transit bit and the full feature phase end a login that succeeds.
        self.complete = fields[11] >> 24 == 0 and fields[1] & 0x83 == 0x83
        return {"response": keys, "tsih": self.tsih}

    def digest(self, key: str) -> bool:
        """Whether a digest was agreed upon: the one who answers chooses (RFC 7143 6.2.1)."""
        answer = self.answers.get(key)
        offer = self.keys.get(key)
        if answer is None or offer is None:
            return False
        if "," in answer:  # the target offered, and the initiator chose
            return offer == "CRC32C"
        return answer == "CRC32C"


def _text(before: bytes, fields: tuple[int, ...], data: bytes) -> tuple[dict[str, str], bytes]:
    """The keys of a PDU, once its text is complete; and what waits for more (the C bit, 11.12.2)."""
    text = before + data
    if fields[1] & 0x40 and len(text) < MAX_KEPT_BYTES:
        return {}, text
    return read_keys(text), b""


def _stages(fields: tuple[int, ...]) -> dict[str, object]:
    details: dict[str, object] = {"stage": STAGES[fields[1] >> 2 & 3]}
    if fields[1] & 0x80:
        details["next_stage"] = STAGES[fields[1] & 3]
    return details
