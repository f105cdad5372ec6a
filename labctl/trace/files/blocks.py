"""Numbers of the pcapng format (draft-ietf-opsawg-pcapng), shared by the reader and the writer."""

from __future__ import annotations

from typing import Final

SECTION: Final = 0x0A0D0D0A  # 4.1; the same in both byte orders
INTERFACE: Final = 1  # 4.2
OLD_PACKET: Final = 2  # appendix A
SIMPLE_PACKET: Final = 3  # 4.4
ENHANCED_PACKET: Final = 6  # 4.3
CUSTOM: Final = 0x00000BAD  # 4.7; may be copied into other files
CUSTOM_LOCAL: Final = 0x40000BAD  # 4.7; may not
MAGIC: Final = 0x1A2B3C4D

OPTION_END: Final = 0
OPTION_COMMENT: Final = 1
OPTION_SECTION_APPLICATION: Final = 4
OPTION_INTERFACE_NAME: Final = 2
OPTION_INTERFACE_DESCRIPTION: Final = 3
OPTION_INTERFACE_RESOLUTION: Final = 9
OPTION_INTERFACE_OFFSET: Final = 14

ENTERPRISE: Final = 32473
"""Ours is a number that RFC 5612 sets aside for documentation: labctl has none of its own. The payload therefore names itself too."""

SIGNATURE: Final = "labctl"
"""The key by which a custom block's JSON object says that it is an annotation; its value is the form's version, 1."""
