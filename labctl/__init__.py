"""labctl: a virtualised data centre on one Linux machine."""

__version__ = "0.1.0.dev0"
