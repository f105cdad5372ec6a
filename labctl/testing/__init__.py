"""What a plugin's author imports in tests: needs, leak checks, waiting, ordinary users; fakes and conformance kits join them here.

Rule: nothing in labctl imports this package, and only `labctl.testing.plugin` imports pytest. To have its fixtures and the `needs`
marker, put `pytest_plugins = ["labctl.testing.plugin"]` into the conftest.py at the top of your tests.
"""
