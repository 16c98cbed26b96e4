"""How the local Hub's answers travel: HTTP/1.1 on loopback, with faults on the way."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote

from tests.local_hub.endpoints import Endpoints, Request, Response, refusal
from tests.local_hub.faults import Faults, corrupted
from tests.local_hub.storage import HubError


class LoggedRequest(NamedTuple):
    """A request as the server saw it; `status` is None where the connection was reset instead of an answer."""

    method: str
    path: str
    status: int | None


class Server(ThreadingTCPServer):
    """Serves `endpoints` in threads until stopped, when it also closes the connections that clients keep alive."""

    allow_reuse_address = daemon_threads = True
    request_queue_size = 64

    def __init__(self, endpoints: Endpoints, faults: Faults) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.endpoints, self.faults = endpoints, faults
        self.log: list[LoggedRequest] = []
        self.connections: set[Any] = set()
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)

    def start(self) -> str:
        """Start and return the address."""
        self.thread.start()
        return f"http://127.0.0.1:{self.server_address[1]}"

    def stop(self) -> None:
        self.shutdown()
        self.thread.join()
        self.server_close()
        for connection in list(self.connections):
            with suppress(OSError):  # gone meanwhile
                connection.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60  # seconds for which a connection may say nothing
    server: Server

    def serve(self) -> None:
        raw_path, _, query = self.path.partition("?")
        path = unquote(raw_path)
        fault = self.server.faults.take(self.command, path)
        if fault == "cut_upload":
            next(self.body_pieces(halves=True), None)
            self.log_as(path, None)
            return self.reset()
        body = b"".join(self.body_pieces())
        if isinstance(fault, int):
            response = refusal(HubError(fault, "The local Hub was asked to fail"))
        else:
            method = "GET" if self.command == "HEAD" else self.command
            response = self.server.endpoints.handle(Request(method, raw_path, parse_qs(query), self.headers, body))
        if fault == "no_answer":
            self.log_as(path, None)
            return self.reset()
        self.log_as(path, response.status)
        self.send(response, corrupt=fault == "corrupt", cut=fault in ("truncate", "reset"))
        if fault == "reset":
            self.reset()

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = serve

    def body_pieces(self, halves: bool = False) -> Iterator[bytes]:
        """Yield the request's body: the whole or its two halves, or chunks as they come."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        elif length := int(self.headers.get("Content-Length", 0)):
            first = length // 2 if halves else length
            yield self.rfile.read(first)
            if halves:
                yield self.rfile.read(length - first)

    def send(self, response: Response, corrupt: bool, cut: bool) -> None:
        content = corrupted(response.body) if corrupt and response.body else response.body
        self.send_response(response.status)
        for name, value in (response.headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if cut else content)
        self.close_connection = self.close_connection or cut

    def reset(self) -> None:
        """Close the connection so that the client is told of an error."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.connection.close()

    def log_as(self, path: str, status: int | None) -> None:
        self.server.log.append(LoggedRequest(self.command, path, status))

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""
