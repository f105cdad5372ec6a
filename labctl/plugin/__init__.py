"""How plugins are found, loaded and checked."""
