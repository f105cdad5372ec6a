"""iSCSI (RFC 7143) and the SCSI in it.

- `wire`: opcodes, their names, and what a header looks like. `framing`: PDUs from a stream.
- `session`: PDUs to commands. `login`: text keys. `cdb`, `sense`: SCSI's own words.
"""
