"""AWS services that answer as a test says, over real HTTP and by the protocol JSON 1.1."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Respond = Callable[[str, dict[str, Any]], dict[str, Any] | str]
"""Takes an operation and what it is asked; a text is the code of the error that it answers."""


@contextmanager
def answering(respond: Respond) -> Iterator[str]:
    """Give the URL at which every operation is answered."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            operation = self.headers["X-Amz-Target"].rpartition(".")[2]
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found = respond(operation, asked)
            if isinstance(found, str):
                self.send_response(400)
                found = {"__type": found, "message": "No."}
            else:
                self.send_response(200)
            body = json.dumps(found).encode()
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
