"""Every test has the fixtures, the `needs` marker and the leak check that plugins' authors get: see labctl/testing/plugin.py."""

pytest_plugins = ["labctl.testing.plugin", "pytester"]
