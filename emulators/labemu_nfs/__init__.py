"""XDR, RPC, portmap, MOUNT and NFS: sans-IO engines and, in io/, a server."""
