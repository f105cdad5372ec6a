"""iSCSI (RFC 7143): a sans-IO engine and, in io/, a server."""
