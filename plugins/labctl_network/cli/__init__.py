"""The network plugin's commands: each parses, calls labd and renders."""
