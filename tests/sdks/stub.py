"""A model server of the standard library, which answers with what it heard."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SESSION = "5f0c"
PARTS = [b"one ", b"two ", b"three"]
STREAMS = {"stream": 3, "break": 1, "hang-up": 0, "stall": 1}
"""How many parts a streamed answer has; but for the first kind, the rest is missing."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    name: str

    def do_GET(self) -> None:
        self._answer(200, {}, b"")

    def do_POST(self) -> None:
        heard = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(heard["content-length"]))
        attributes = heard.get("x-amzn-sagemaker-custom-attributes", "")
        kind, _, argument = attributes.partition("=")
        headers = {"X-Private": "no"}
        if kind == "return":
            headers["X-Amzn-SageMaker-Custom-Attributes"] = argument
        if heard.get("x-amzn-sagemaker-session-id") == "NEW_SESSION":
            expires = "Expires=2099-01-01T00:00:00Z"
            headers["X-Amzn-SageMaker-New-Session-Id"] = f"{SESSION}; {expires}"
        if body == b"close":
            headers["X-Amzn-SageMaker-Closed-Session-Id"] = SESSION
        if kind in STREAMS:
            with suppress(BrokenPipeError):  # the reader has gone
                self._stream(kind, argument)
            return
        if kind == "sleep":
            time.sleep(float(argument))
        said = {"name": self.name, "heard": heard, "body": base64.b64encode(body).decode()}
        status = int(argument) if kind == "status" else 200
        headers["Content-Type"] = heard.get("accept", "application/json")
        self._answer(status, headers, b"sorry" if kind == "status" else json.dumps(said).encode())

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(BrokenPipeError):  # whoever asked has given up
            self.wfile.write(body)

    def _stream(self, kind: str, argument: str) -> None:
        self.send_response(int(argument) if kind == "stall" else 200)
        self.send_header("Content-Type", "text/x-parts")
        self.send_header("X-Amzn-SageMaker-Custom-Attributes", "streamed")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in PARTS[: STREAMS[kind]]:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
            self.wfile.flush()
            time.sleep(float(argument or 0) if kind == "stream" else 0)
        self.close_connection = kind != "stream"
        if kind == "stream":
            self.wfile.write(b"0\r\n\r\n")
        if kind == "stall":
            time.sleep(5)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def container(name: str) -> Iterator[str]:
    """Run one, which says its `name`; yield its URL."""
    handler = type("_Named", (_Handler,), {"name": name})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
