"""The server of a viewer: a port of this machine alone, or one that asks for a token."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Any

from mimickit_hydra.errors import UserError

PORT = 8080
LOOPBACK = "127.0.0.1"
_TRIED = 100  # ports, from the first on


class Server:
    """A viser server, from its making to the end of the ``with`` statement. ``url`` is what to open.

    It listens to this machine alone; with another ``host`` a gate before it lets in those who know the token of
    ``url``. A ``port`` that is taken is passed over for the next free one.
    """

    def __init__(self, host: str = LOOPBACK, port: int = PORT, title: str = "mimickit") -> None:
        import rich
        import viser

        rich.get_console().quiet = True  # viser announces itself, the port behind a gate included
        public = host not in (LOOPBACK, "localhost")
        self.gate: Any = None
        self.viser: Any = viser.ViserServer(
            LOOPBACK, 0 if public else _free(LOOPBACK, port), label=title, verbose=False
        )
        self.port = int(self.viser.get_port())
        self.url = f"http://{LOOPBACK}:{self.port}"
        if public:
            from mimickit_hydra.view.browser.gate import Gate

            try:
                self.gate = Gate(host, _free(host, port), self.port)
            except BaseException:
                self.close()
                raise
            self.port, self.url = self.gate.port, self.gate.url

    def watched(self) -> bool:
        """Whether a window is open."""
        return bool(self.viser.get_clients())

    def hint(self) -> str:
        """The line that tells how to look, from here or through a tunnel."""
        return f"viewer      {self.url}   (from elsewhere: ssh -L {self.port}:{LOOPBACK}:{self.port} {_host_name()})"

    def close(self) -> None:
        """Close every window's connection and the port. Safe to call twice."""
        if self.gate is not None:
            self.gate.close()
            self.gate = None
        if self.viser is not None:
            self.viser.stop()
            self.viser = None

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _host_name() -> str:
    return socket.gethostname() or "HOST"


def _free(host: str, port: int) -> int:
    """The first port from ``port`` on that can be listened to; UserError for a host that is not this machine's."""
    for candidate in range(port, min(port + _TRIED, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, candidate))
                return candidate
            except (OSError, OverflowError) as error:
                last = error
    raise UserError(f"view: cannot listen to {host}:{port} ({getattr(last, 'strerror', None) or last})")
