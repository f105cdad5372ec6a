"""From bytes to requests and responses.

- `exchange`: a request under way. `book`: all of them, their numbers, and the problems.
- `iscsi/`: PDUs, sessions, SCSI. `rpc/`: records, calls and replies; `nfs3`, `nfs4` and the rest say what is in them.
- `engine`: batches of packets in, exchanges out; finds out which connection speaks what.
"""
