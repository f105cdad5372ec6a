"""The control socket of emulators that run alone."""
