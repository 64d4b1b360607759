"""A gate before a server of this machine: connections from elsewhere pass with the token, and with nothing else."""

from __future__ import annotations

import contextlib
import hmac
import re
import secrets
import select
import socket
import threading
from urllib.parse import parse_qs, urlsplit

from mimickit_hydra.errors import UserError

COOKIE = "mimickit_view"
_HEAD = 16384  # bytes of a request's head
_PATIENCE = 10.0  # s that a head may take
_WORD = b"open the address with its token, as it was printed\n"
_REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(_WORD), _WORD)


class Gate:
    """Listens on ``host:port`` and passes on to ``behind`` of this machine what comes with the token.

    The token is in the address that is opened; from then on a cookie has it. ``url`` is that address.
    """

    def __init__(self, host: str, port: int, behind: int) -> None:
        self.token = secrets.token_urlsafe(18)
        self._behind = behind
        try:
            self._listener = socket.create_server((host, port))
        except OSError as error:
            raise UserError(f"view: cannot listen to {host}:{port} ({error.strerror or error})") from None
        self.port = int(self._listener.getsockname()[1])
        shown = socket.gethostname() if host in ("0.0.0.0", "") else host
        self.url = f"http://{shown}:{self.port}/?token={self.token}"
        self._open: set[socket.socket] = set()
        self._closed = False
        threading.Thread(target=self._accept, name="view-gate", daemon=True).start()

    def close(self) -> None:
        """Stop listening and end what is open."""
        self._closed = True
        for end in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # whoever waits for it wakes up, and closes it
        self._listener.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                guest, _ = self._listener.accept()
            except OSError:
                return
            self._open.add(guest)
            threading.Thread(target=self._serve, args=(guest,), name="view-gate", daemon=True).start()

    def _serve(self, guest: socket.socket) -> None:
        with contextlib.suppress(OSError), guest:
            guest.settimeout(_PATIENCE)
            head = _read_head(guest)
            if self._asks_with_token(head):
                answer = f"HTTP/1.1 303 See Other\r\nLocation: /\r\nSet-Cookie: {COOKIE}={self.token}; HttpOnly; "
                guest.sendall(
                    f"{answer}SameSite=Strict; Path=/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
                )
            elif self._has_cookie(head):
                with socket.create_connection(("127.0.0.1", self._behind)) as server:
                    self._open.add(server)
                    server.sendall(head)
                    guest.settimeout(None)
                    _pipe(guest, server)
                    self._open.discard(server)
            else:
                guest.sendall(_REFUSED)
        self._open.discard(guest)

    def _asks_with_token(self, head: bytes) -> bool:
        words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        given = parse_qs(urlsplit(words[1]).query).get("token", [""])[0] if len(words) == 3 else ""
        return hmac.compare_digest(given.encode(), self.token.encode())

    def _has_cookie(self, head: bytes) -> bool:
        found = re.findall(rb"(?im)^cookie:.*?\b" + COOKIE.encode() + rb"=([\w-]+)", head)
        return any(hmac.compare_digest(given, self.token.encode()) for given in found)


def _read_head(guest: socket.socket) -> bytes:
    """The bytes of a request up to the empty line, and what came with them; what is longer is cut off."""
    head = b""
    while b"\r\n\r\n" not in head and len(head) < _HEAD:
        piece = guest.recv(4096)
        if not piece:
            break
        head += piece
    return head


def _pipe(guest: socket.socket, server: socket.socket) -> None:
    """Pass on bytes both ways until one side ends."""
    while True:
        for ready in select.select([guest, server], [], [])[0]:
            piece = ready.recv(65536)
            if not piece:
                return
            (server if ready is guest else guest).sendall(piece)
