"""The plugin's registration: what the entry point names."""
