"""A small HTTP server that answers as an OpenAI-compatible endpoint, or as a broken one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, str, bytes | Iterable[bytes]]
"""Status, content type, body: whole, or piece by piece until the client has gone."""


def completion(text: str | None, *, finish_reason: str = "stop", refusal: str | None = None) -> Reply:
    message = {"role": "assistant", "content": text, "refusal": refusal}
    body = {
        "id": "c",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": finish_reason, "message": message}],
    }
    return 200, "application/json", json.dumps(body).encode()


ERROR: Reply = (500, "application/json", b'{"error": {"message": "out of order"}}')
HTML: Reply = (200, "text/html", b"<html><body>Welcome</body></html>")
BAD_GATEWAY: Reply = (502, "text/html", b"<html>Bad gateway</html>")
NO_JSON: Reply = (200, "application/json", b"{")
OTHER_JSON: Reply = (200, "application/json", b'{"ok": true}')
NO_CHOICES: Reply = (200, "application/json", b'{"choices": []}')
EMPTY: Reply = (200, "application/json", b"")


@dataclass
class ChatEndpoint:
    """What it was asked, and what it answers."""

    url: str
    answer: Callable[[dict[str, Any]], Reply | None]
    """None closes the connection without a word."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)


@contextmanager
def chat_endpoint(answer: Callable[[dict[str, Any]], Reply | None]) -> Iterator[ChatEndpoint]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            endpoint.asked.append({"path": self.path, **asked})
            endpoint.keys.append(self.headers["authorization"])
            reply = endpoint.answer(asked)
            if reply is None:
                self.close_connection = True
                return
            status, content_type, body = reply
            self.send_response(status)
            self.send_header("content-type", content_type)
            if isinstance(body, bytes):
                self.send_header("content-length", str(len(body)))
            with suppress(ConnectionError):
                self.end_headers()
                for piece in [body] if isinstance(body, bytes) else body:
                    self.wfile.write(piece)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    endpoint = ChatEndpoint(f"http://127.0.0.1:{server.server_port}/v1", answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
