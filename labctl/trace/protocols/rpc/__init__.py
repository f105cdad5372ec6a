"""ONC RPC (RFC 5531) and what is spoken over it.

- `records`: records from a stream. `xdr`: reading RFC 4506. `connection`: calls and replies, paired.
- `nfs3`, `nfs4` (with `nfs4_args`, `nfs4_results`), `mount`, `others`: the programs. `paths`: what filehandles are called.
"""
