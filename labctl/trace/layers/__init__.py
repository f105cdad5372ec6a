"""Storage protocols as scapy layers: to look at every field of a message, and to build messages, right ones and wrong ones.

- `iscsi`: every PDU of RFC 7143, with additional header segments and digests. `scsi`: command descriptor blocks;
  `scsi_data`: what commands send and get, and sense data.
- `nfs4`: NFSv4's COMPOUND, each operation's arguments and results, each attribute; `xdr`: the grammar that they are written in.
- `rpc`: scapy's own ONC RPC, NFSv3, MOUNT and port mapper, with what a reply needs to know of its call.

    from labctl.trace.layers.iscsi import ISCSI, ScsiCommand
    from labctl.trace.layers.scsi import Read10

    raw = bytes(ScsiCommand(itt=1, R=1, edtl=512, cdb=bytes(Read10(lba=8, blocks=1))))
    ISCSI(raw).show()
"""
