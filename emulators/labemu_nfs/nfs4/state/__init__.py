"""What the server remembers of clients: pure state machines, without XDR, clock or input and output."""
