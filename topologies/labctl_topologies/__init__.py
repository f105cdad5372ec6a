"""The example topologies that ship with labctl."""
