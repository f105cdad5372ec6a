"""Opens packet sockets inside a rootless lab's user namespace and passes them to the capture: `python -m … DESCRIPTOR`, spots on stdin."""

from __future__ import annotations

import json
import socket
import sys

from labctl.errors import LabError
from labctl.trace.capture.sockets import Spot, open_sockets


def main(descriptor: str) -> int:
    """Open, pass, end.

    Args:
        descriptor: the number of the unix socket to pass them over.
    """
    request = json.load(sys.stdin)
    try:
        opened = open_sockets([Spot(**spot) for spot in request["spots"]], size=int(request["size"]))
    except LabError as error:
        sys.stderr.write(error.message)
        return 1
    with socket.socket(fileno=int(descriptor)) as way:
        socket.send_fds(way, [b"."], [each.fileno() for each in opened])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
