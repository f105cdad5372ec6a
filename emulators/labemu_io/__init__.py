"""What the drivers of all servers share: those parts that move bytes between sockets and engines, whatever the protocol."""
