"""One command in full: every PDU or RPC record of it, every field, and the bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from labctl.trace.command import Command, Message, Protocol
from labctl.trace.reports import words

_BYTES_SHOWN = 512
"""Bytes of a message in the hexadecimal dump; a disk's data fills screens and says nothing."""


_WIDTH = 120
"""Characters of a field's line; the bytes stand below."""


def layers(command: Command, messages: Sequence[Message]) -> Iterator[tuple[Message, list[Any]]]:
    """Each message with its scapy layers: a PDU and its CDB, or an RPC record down to its procedure."""
    call = next((message.data for message in messages if message.kind == "CALL"), b"")
    cdb = b""
    for message in messages:
        if command.protocol is Protocol.ISCSI:
            pdu = _pdu(message.data)
            cdb = getattr(pdu, "cdb", cdb)
            yield message, [pdu, *scsi_layers(pdu, cdb)]
        else:
            from labctl.trace.layers.rpc import dissect

            yield message, [dissect(message.data, b"" if message.kind == "CALL" else call)]


def scsi_layers(pdu: Any, cdb: bytes) -> Iterator[Any]:
    """What a PDU has of SCSI: the CDB, and data that is no disk's, where it begins."""
    from labctl.trace.layers import scsi_data
    from labctl.trace.layers.iscsi import DataIn, DataOut, ScsiCommand, ScsiResponse
    from labctl.trace.layers.scsi import CDB

    data = None
    if isinstance(pdu, ScsiCommand):
        yield CDB(pdu.cdb)
        data = scsi_data.sent(cdb, pdu.data)
    elif isinstance(pdu, DataOut) and not pdu.offset:
        data = scsi_data.sent(cdb, pdu.data)
    elif isinstance(pdu, DataIn) and not pdu.offset:
        data = scsi_data.received(cdb, pdu.data)
    elif isinstance(pdu, ScsiResponse):
        data = scsi_data.of_response(pdu.data)
    if data is not None:
        yield data


def _pdu(data: bytes) -> Any:
    from labctl.trace.layers.iscsi import ISCSI

    head = len(data) > 4 and 48 + 4 * data[4]
    digests = False, False
    length = int.from_bytes(data[5:8], "big")
    extra = len(data) - (int(head) + (length + 3 & ~3))
    if extra in (4, 8):
        digests = (True, False) if not length or extra == 8 else _one_digest(data, int(head))
        digests = digests[0], extra == 8 or digests[1]
    kind = ISCSI.dispatch_hook(data)
    return type(kind.__name__, (kind,), {"digests": digests})(data)


def _one_digest(data: bytes, head: int) -> tuple[bool, bool]:
    """One digest is there: the header's, if that fits."""
    import crc32c

    fits = crc32c.crc32c(data[:head]).to_bytes(4, "little") == data[head : head + 4]
    return fits, not fits


def text(command: Command, messages: Sequence[Message]) -> Iterator[str]:
    """Lines for people."""
    owner = command.owner
    yield f"command {command.id}: {command.operation} {words.thing(command)}".rstrip()
    whose = ", ".join(part for part in (owner.vm, owner.host, owner.datastore, owner.array, owner.network) if part)
    yield f"{command.client} to {command.server}{f' ({whose})' if whose else ''}"
    yield f"{words.clock(command.start)}, {words.duration(command.latency)}, {words.outcome(command)}"
    for name, value in command.details.items():
        yield f"  {name} = {value}"
    for message, shown in layers(command, messages):
        yield ""
        arrow = "->" if message.towards_server else "<-"
        late = words.duration(message.time - command.start)
        first, last = message.frames
        frames = f"frame {first}" if first == last else f"frames {first} to {last}"
        missing = f", {message.missing} bytes not in the capture" if message.missing else ""
        yield f"{arrow} {message.kind}, {len(message.data)} bytes, {frames}, after {late}{missing}"
        for layer in shown:
            yield from (_cut(line) for line in str(layer.show(dump=True)).splitlines() if line.strip())
        yield from dump(message.data)


def _cut(line: str) -> str:
    return line if len(line) <= _WIDTH else f"{line[:_WIDTH]}…"


def dump(data: bytes, most: int = _BYTES_SHOWN) -> Iterator[str]:
    """Bytes in hexadecimal and as characters, sixteen a line."""
    for at in range(0, min(len(data), most), 16):
        row = data[at : at + 16]
        signs = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{at:04x}  {row.hex(' '):<47}  {signs}"
    if len(data) > most:
        yield f"      … {len(data) - most} more"


def to_json(command: Command, messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The messages with their fields, as plain values."""
    return [
        {
            "kind": message.kind,
            "towards_server": message.towards_server,
            "time": message.time,
            "frames": list(message.frames),
            "missing": message.missing,
            "layers": [
                {"name": part.name, "fields": {key: _plain(value) for key, value in part.fields.items()}}
                for layer in shown
                for part in _parts(layer)
            ],
            "data": message.data.hex(),
        }
        for message, shown in layers(command, messages)
    ]


def _parts(layer: Any) -> Iterator[Any]:
    while layer and layer.name != "NoPayload":
        yield layer
        layer = layer.payload


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if hasattr(value, "fields_desc"):  # a part: an operation of a COMPOUND, an attribute
        return {
            "name": value.name,
            "fields": {key: _plain(each) for key, each in value.fields.items() if each is not None},
        }
    return value if isinstance(value, int | str | bool | None) else str(value)
