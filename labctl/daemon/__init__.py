"""labd: one process a lab; HTTP over a unix socket, an event stream, and the client for it."""
