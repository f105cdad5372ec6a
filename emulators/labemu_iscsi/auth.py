"""CHAP (RFC 7143 12.1.3, RFC 1994), one-way and mutual, with MD5, SHA1, SHA-256 and SHA3-256 (RFC 7143 12.1.3, IANA's numbers)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from labemu_iscsi.errors import AuthenticationFailed

_ALGORITHMS: Final[Mapping[str, str]] = {"5": "md5", "6": "sha1", "7": "sha256", "8": "sha3_256"}
_CHALLENGE_LENGTH: Final = {"5": 16, "6": 20, "7": 32, "8": 32}
ALGORITHMS: Final = tuple(_ALGORITHMS)
_IDENTIFIER = re.compile(r"[0-9]{1,3}")
_MAX_CHALLENGE: Final = 1024  # RFC 7143 12.1.3: bytes of CHAP_C


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What an initiator must know, and what the target proves in return.

    Args:
        user: CHAP_N of the initiator.
        password: its secret.
        mutual_user: CHAP_N of the target, or empty.
        mutual_password: its secret.
        algorithms: the numbers of CHAP_A that are accepted: 5 MD5, 6 SHA1, 7 SHA-256, 8 SHA3-256.

    Raises:
        ValueError: the same secret for both directions, which RFC 7143 9.2.1 forbids: a reflected response would pass.
    """

    user: str
    password: str
    mutual_user: str = ""
    mutual_password: str = ""
    algorithms: tuple[str, ...] = ALGORITHMS

    def __post_init__(self) -> None:
        if self.mutual_user and hmac.compare_digest(self.password.encode(), self.mutual_password.encode()):
            raise ValueError("the target's CHAP secret is the initiator's: each direction wants a secret of its own")

    def __repr__(self) -> str:
        return f"Credentials(user={self.user!r})"


def chap_response(algorithm: str, identifier: int, secret: str, challenge: bytes) -> bytes:
    """RFC 1994 4.1: hash of identifier, secret, challenge."""
    return hashlib.new(_ALGORITHMS[algorithm], bytes((identifier,)) + secret.encode() + challenge).digest()


def decode_binary(value: str) -> bytes:
    """RFC 7143 6.1: 0x hexadecimal or 0b base64.

    Raises:
        AuthenticationFailed: neither.
    """
    try:
        if value[:2].lower() == "0x":
            digits = value[2:]
            return bytes.fromhex("0" * (len(digits) % 2) + digits)
        if value[:2].lower() == "0b":
            return base64.b64decode(value[2:], validate=True)
    except (ValueError, binascii.Error) as error:
        raise AuthenticationFailed("malformed binary value") from error
    raise AuthenticationFailed("a binary value starts with 0x or 0b")


class ChapTarget:
    """The target's side of one CHAP exchange: algorithm, challenge, proof, and the initiator's challenge to us.

    Args:
        credentials: what to ask for.
        entropy: so many random bytes.
    """

    def __init__(self, credentials: Credentials, entropy: Callable[[int], bytes]) -> None:
        self._credentials = credentials
        self._entropy = entropy
        self._algorithm = ""
        self._identifier = 0
        self._challenge = b""
        self.done = False

    def step(self, values: Mapping[str, str]) -> list[tuple[str, str]]:
        """One exchange; the keys to answer with.

        Raises:
            AuthenticationFailed: no common algorithm, a wrong name or a wrong response.
        """
        if "CHAP_A" in values:
            return self._choose(values["CHAP_A"])
        if "CHAP_R" in values and not self.done:
            return self._verify(values)
        raise AuthenticationFailed("CHAP keys are missing")

    def _choose(self, offered: str) -> list[tuple[str, str]]:
        if self._algorithm:
            raise AuthenticationFailed("CHAP_A was sent twice")
        algorithm = next((each for each in offered.split(",") if each in self._credentials.algorithms), None)
        if algorithm is None:
            raise AuthenticationFailed(f"no common CHAP algorithm in {offered[:64]}")
        self._algorithm = algorithm
        self._identifier = self._entropy(1)[0]
        self._challenge = self._entropy(_CHALLENGE_LENGTH[algorithm])
        return [("CHAP_A", algorithm), ("CHAP_I", str(self._identifier)), ("CHAP_C", "0x" + self._challenge.hex())]

    def _verify(self, values: Mapping[str, str]) -> list[tuple[str, str]]:
        if not self._algorithm:
            raise AuthenticationFailed("CHAP_R came before CHAP_A")
        expected = chap_response(self._algorithm, self._identifier, self._credentials.password, self._challenge)
        proven = hmac.compare_digest(expected, decode_binary(values["CHAP_R"]))
        named = hmac.compare_digest(values.get("CHAP_N", "").encode(), self._credentials.user.encode())
        if not (proven and named):
            raise AuthenticationFailed("wrong CHAP name or secret")
        self.done = True
        if "CHAP_I" not in values and "CHAP_C" not in values:
            return []
        return self._prove(values)

    def _prove(self, values: Mapping[str, str]) -> list[tuple[str, str]]:
        """Mutual CHAP: the initiator challenges us."""
        if not self._credentials.mutual_user:
            raise AuthenticationFailed("the initiator wants mutual CHAP, which is not set up")
        challenge = decode_binary(values.get("CHAP_C", ""))
        identifier = values.get("CHAP_I", "")
        if not _IDENTIFIER.fullmatch(identifier) or int(identifier) > 255 or not 0 < len(challenge) <= _MAX_CHALLENGE:
            raise AuthenticationFailed("malformed CHAP challenge")
        if challenge == self._challenge:  # RFC 7143 9.2.1: a reflected challenge
            raise AuthenticationFailed("the initiator reflected our challenge")
        proof = chap_response(self._algorithm, int(identifier), self._credentials.mutual_password, challenge)
        return [("CHAP_N", self._credentials.mutual_user), ("CHAP_R", "0x" + proof.hex())]
