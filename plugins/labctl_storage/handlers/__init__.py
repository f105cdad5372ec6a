"""The handlers of the unit types datastore and volume: they ask the array's agent."""
