"""`labctl trace`: parse, call, render."""
