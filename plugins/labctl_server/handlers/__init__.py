"""The handlers of the server plugin's unit types: `image` and `vm`."""
