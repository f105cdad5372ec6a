"""Desktop virtualization: no kinds yet."""
