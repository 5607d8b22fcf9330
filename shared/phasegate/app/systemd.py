"""Tells systemd that the process works, as far as systemd wants to know."""

import os
import socket
from contextlib import suppress


def notify(state: str) -> None:
    """Send a state such as `READY=1` or `WATCHDOG=1` to the service manager; nothing happens without one.

    An error is ignored: without the message systemd restarts the process, which is what the watchdog is for.

    Source: sd_notify(3), "Notes": one datagram to the socket that `NOTIFY_SOCKET` names; `@` begins an abstract name.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.settimeout(1)
        sender.connect("\0" + address[1:] if address.startswith("@") else address)
        sender.sendall(state.encode())
