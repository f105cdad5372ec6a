"""The check plugin: promises about a lab's traffic, written in its topology and kept by `labctl check`.

Rules: the kind and the verdicts are pure; the watching is `labctl.cli.trace.watching`, the same that a test's `traffic` fixture uses.
"""
