"""A door in front of a server, to be shut: connections break, and new ones are refused, as when the server is gone."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.serving import free_port


class Door:
    """Passes bytes on to a server while it is open."""

    def __init__(self, server: str) -> None:
        host, _, port = server.removeprefix("http://").partition(":")
        self._server = (host, int(port))
        self._port = free_port()
        self._sockets: set[socket.socket] = set()
        self._listening: socket.socket | None = None
        self.address = f"127.0.0.1:{self._port}"

    def open(self) -> None:
        """Let connections in."""
        self._listening = socket.create_server(("127.0.0.1", self._port))
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def shut(self) -> None:
        """Refuse new connections, and break those that there are."""
        if self._listening is not None:
            with suppress(OSError):
                self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
            self._listening = None
        for each in tuple(self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listening.accept()
                server = socket.create_connection(self._server)
                self._sockets |= {client, server}
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
            self._sockets.discard(each)


@contextmanager
def door(server: str) -> Iterator[Door]:
    """A door that is open, and shut at the end."""
    made = Door(server)
    made.open()
    try:
        yield made
    finally:
        made.shut()
