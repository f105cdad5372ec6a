"""The storage plugin's kinds: pure, they compile to an agent for each array, datastores and volumes."""
