"""What a plugin author imports in tests: fixtures, fakes, conformance kits."""
