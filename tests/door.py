"""A door between a client and a service: while it is shut, the service seems to have stopped."""

import socket
import threading
from contextlib import suppress
from typing import Self


class Door:
    """Passes TCP connections on while it is open. Use as a context manager.

    Args:
        host: Where the service listens, `address:port`.
    """

    def __init__(self, host: str) -> None:
        address, _, port = host.removeprefix("http://").rpartition(":")
        self._service = (address, int(port))
        self._changing = threading.Lock()
        self._passing: set[socket.socket] = set()
        self._listening: socket.socket | None = None
        self._port = 0

    @property
    def host(self) -> str:
        """Where the client finds the service."""
        return f"127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.shut()

    def open(self) -> None:
        """Let connections through, at the same address as ever."""
        self._listening = socket.create_server(("127.0.0.1", self._port), backlog=128)
        self._port = self._listening.getsockname()[1]
        threading.Thread(target=self._let_in, args=(self._listening,), daemon=True).start()

    def shut(self) -> None:
        """Break every connection, and refuse new ones."""
        with self._changing:
            listening, self._listening = self._listening, None
            passing, self._passing = self._passing, set()
        for each in (listening, *passing):
            if each is not None:
                _close(each)

    def _let_in(self, listening: socket.socket) -> None:
        while True:
            try:
                client, _ = listening.accept()
                service = socket.create_connection(self._service)
            except OSError:
                return
            with self._changing:
                shut = self._listening is not listening
                self._passing |= set() if shut else {client, service}
            if shut:
                _close(client)
                _close(service)
                return
            for source, target in ((client, service), (service, client)):
                threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)
        with self._changing:
            self._passing -= {source, target}
        _close(source)
        _close(target)


def _close(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
