"""Network virtualization: networks, switches, nodes and links."""
