"""Two families of error: the peer broke the protocol so badly that the connection must go, or a call failed with a status.

An engine raises ProtocolError to its owner and nothing else; statuses are answered inside. Any other exception is a bug of ours.
"""

from __future__ import annotations


class ProtocolError(Exception):
    """The peer sent what no answer can be given to; the owner closes the connection."""


class ConfigurationError(ValueError):
    """An export or an option makes no sense.

    Args:
        message: what is wrong.
        hint: what to write instead.
    """

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
