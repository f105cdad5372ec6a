"""The storage plugin's commands."""
