"""When a server did what for a command: timestamps for those who look into it, kept only while somebody asks for them."""
