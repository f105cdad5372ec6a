"""NFS version 3 (RFC 1813 3): all 22 procedures, one module a group, and the table that joins them."""
