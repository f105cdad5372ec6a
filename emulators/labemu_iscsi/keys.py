"""The keys of RFC 7143 clause 13 as data: how each is negotiated, when, and what we say.

Rules: a numeric result is the smaller (or larger) of both; a boolean result is the AND (or OR); of a list the initiator's first that
we support is taken; a declaration is noted and not answered; what is obsolete, or not the initiator's to say, is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from labemu_iscsi.limits import (
    ERROR_RECOVERY_LEVEL,
    FIRST_BURST,
    MAX_BURST,
    MAX_OUTSTANDING_R2T,
    MAX_RECEIVE_DATA,
    MAX_SESSION_CONNECTIONS,
    TIME2RETAIN,
)


class Rule(Enum):
    """How two offers become one result (RFC 7143 6.2)."""

    MINIMUM = "minimum"
    MAXIMUM = "maximum"
    AND = "and"
    OR = "or"
    LIST = "list"
    DECLARED = "declared"
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key.

    RFC 7143 13 says of each when it may be sent: IO, in the login of any connection; LO, in that of the leading one; FFPO, in full
    feature phase; ALL, both. What comes at another time, or from the wrong side, is answered with Reject.

    Args:
        name: as on the wire.
        rule: how it is negotiated.
        default: the result when nobody speaks of it.
        ours: what we offer, or the values of a list that we support.
        low: the smallest legal number.
        high: the largest.
        leading_only: only in the first connection of a session.
        full_feature: it may also be sent in full feature phase, and then more than once.
        normal_only: Irrelevant in a discovery session.
    """

    name: str
    rule: Rule
    default: str = ""
    ours: tuple[str, ...] = ()
    low: int = 0
    high: int = 0
    leading_only: bool = False
    full_feature: bool = False
    normal_only: bool = False


_MAX24: Final = (1 << 24) - 1


def _number(name: str, rule: Rule, default: int, ours: int, low: int, high: int, *, normal_only: bool = False) -> Key:
    return Key(
        name=name,
        rule=rule,
        default=str(default),
        ours=(str(ours),),
        low=low,
        high=high,
        leading_only=True,
        normal_only=normal_only,
    )


def _boolean(name: str, rule: Rule, default: str, ours: str) -> Key:
    return Key(name=name, rule=rule, default=default, ours=(ours,), leading_only=True, normal_only=True)


OPERATIONAL: Final = (
    Key(name="HeaderDigest", rule=Rule.LIST, default="None", ours=("CRC32C", "None")),  # 13.1: IO
    Key(name="DataDigest", rule=Rule.LIST, default="None", ours=("CRC32C", "None")),  # 13.1: IO
    _number("MaxConnections", Rule.MINIMUM, 1, MAX_SESSION_CONNECTIONS, 1, 65535, normal_only=True),  # 13.2: LO
    _boolean("InitialR2T", Rule.OR, "Yes", "No"),  # 13.10: LO
    _boolean("ImmediateData", Rule.AND, "Yes", "Yes"),  # 13.11: LO
    Key(  # 13.12: ALL
        name="MaxRecvDataSegmentLength",
        rule=Rule.DECLARED,
        default="8192",
        ours=(str(MAX_RECEIVE_DATA),),
        low=512,
        high=_MAX24,
        full_feature=True,
    ),
    _number("MaxBurstLength", Rule.MINIMUM, 262144, MAX_BURST, 512, _MAX24, normal_only=True),  # 13.13: LO
    _number("FirstBurstLength", Rule.MINIMUM, 65536, FIRST_BURST, 512, _MAX24, normal_only=True),  # 13.14: LO
    _number("DefaultTime2Wait", Rule.MAXIMUM, 2, 0, 0, 3600),  # 13.15: LO; come back at once
    _number("DefaultTime2Retain", Rule.MINIMUM, 20, TIME2RETAIN, 0, 3600),  # 13.16: LO
    _number("MaxOutstandingR2T", Rule.MINIMUM, 1, MAX_OUTSTANDING_R2T, 1, 65535, normal_only=True),  # 13.17: LO
    _boolean("DataPDUInOrder", Rule.OR, "Yes", "No"),  # 13.18: LO
    _boolean("DataSequenceInOrder", Rule.OR, "Yes", "No"),  # 13.19: LO
    _number("ErrorRecoveryLevel", Rule.MINIMUM, 0, ERROR_RECOVERY_LEVEL, 0, 2),  # 13.20: LO
    Key(  # 13.23: LO
        name="TaskReporting",
        rule=Rule.LIST,
        default="RFC3720",
        ours=("RFC3720",),
        leading_only=True,
        normal_only=True,
    ),
    _number("iSCSIProtocolLevel", Rule.MINIMUM, 1, 2, 0, 31, normal_only=True),  # 13.24: LO; 2 is RFC 7144
    _boolean("IFMarker", Rule.AND, "No", "No"),  # 13.25: obsolete; No or Reject, never NotUnderstood
    _boolean("OFMarker", Rule.AND, "No", "No"),
    Key(name="IFMarkInt", rule=Rule.REFUSED),  # 13.25: always Reject
    Key(name="OFMarkInt", rule=Rule.REFUSED),
)

DECLARATIONS: Final = (
    Key(name="InitiatorName", rule=Rule.DECLARED),  # 13.5: IO
    Key(name="InitiatorAlias", rule=Rule.DECLARED, full_feature=True),  # 13.7: ALL
    Key(name="TargetName", rule=Rule.DECLARED),  # 13.4: IO from an initiator
    Key(name="SessionType", rule=Rule.DECLARED, default="Normal", leading_only=True),  # 13.21: LO
    Key(name="SendTargets", rule=Rule.REFUSED),  # 13.3: FFPO, where the text exchange takes it; elsewhere refused
    Key(name="TargetAlias", rule=Rule.REFUSED),  # 13.6, 13.8, 13.9: only a target declares these
    Key(name="TargetAddress", rule=Rule.REFUSED),
    Key(name="TargetPortalGroupTag", rule=Rule.REFUSED),
    Key(name="AuthMethod", rule=Rule.REFUSED),  # 12: only in the security stage, which takes it itself
)

BY_NAME: Final[Mapping[str, Key]] = {key.name: key for key in (*OPERATIONAL, *DECLARATIONS)}
DEFAULTS: Final[Mapping[str, str]] = {key.name: key.default for key in OPERATIONAL if key.default}
