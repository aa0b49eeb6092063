"""What a client does, and what it was told: the history by which a service is judged.

A client retries what was not answered, or answered with a 5xx or 429, always under the same idempotency key.
"""

import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.chaos.service import PATIENCE_S, until

TERMINAL = ("completed", "failed")


@dataclass(frozen=True)
class Post:
    """A request for a video."""

    path: str
    key: str
    body: dict[str, Any]

    def headers(self) -> dict[str, str]:
        return {"idempotency-key": self.key, "content-type": "application/json"}

    def content(self) -> bytes:
        return json.dumps(self.body).encode()


@dataclass
class Told:
    """What the client knows of a video in the end."""

    key: str
    status: str
    sha256: str | None
    """Of what it downloaded."""


@dataclass
class History:
    accepted: list[tuple[str, str]] = field(default_factory=list)
    """Each answer to a POST: its key and the video's id."""
    ended: dict[str, Told] = field(default_factory=dict)
    injected_at: list[float] = field(default_factory=list)
    """Unix times from which a recovery counts."""


class Client:
    """Asks one service; threads may share it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.history = History()
        self._http = httpx.Client(base_url=url, timeout=60)

    def close(self) -> None:
        self._http.close()

    def create(self, post: Post) -> str:
        """Ask until it is accepted; gives its id."""
        reply = self._ask("POST", post.path, content=post.content(), headers=post.headers()).raise_for_status()
        video_id = str(reply.json()["id"])
        self.history.accepted.append((post.key, video_id))
        return video_id

    def cancel(self, video_id: str) -> None:
        self._ask("POST", f"/v1/videos/{video_id}/cancel").raise_for_status()

    def follow(self, key: str, video_id: str) -> Told:
        """Look until it has ended, and take what there is."""
        deadline = time.monotonic() + PATIENCE_S
        while (status := self._status(video_id)) not in (*TERMINAL, "missing") and time.monotonic() < deadline:
            time.sleep(0.1)
        sha256 = None
        if status == "completed":
            content = self._ask("GET", f"/v1/videos/{video_id}/content").raise_for_status().content
            sha256 = hashlib.sha256(content).hexdigest()
        told = self.history.ended[video_id] = Told(key, status, sha256)
        return told

    def break_off(self, method: str, path: str, post: Post | None, draws: Random) -> None:
        """Go away at a random byte of the request or of the reply."""
        address = urlsplit(self.url)
        headers = {"host": address.netloc, **(post.headers() if post else {})}
        content = post.content() if post else b""
        headers["content-length"] = str(len(content))
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        request = "\r\n".join(lines).encode() + content
        with suppress(OSError), closing(socket.create_connection((address.hostname, address.port), 10)) as connection:
            if draws.random() < 0.5:
                connection.sendall(request[: draws.randrange(len(request))])
            else:
                connection.sendall(request)
                connection.recv(draws.randrange(1, 200))
        self.history.injected_at.append(time.time())

    def _status(self, video_id: str) -> str:
        reply = self._ask("GET", f"/v1/videos/{video_id}")
        return "missing" if reply.status_code == 404 else str(reply.raise_for_status().json()["status"])

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                reply = self._http.request(method, path, **options)
                if _is_answer(reply):
                    return reply
                what = f"{reply.status_code}: {reply.text[:300]}"
            except httpx.TransportError as error:
                what = repr(error)
            assert time.monotonic() < deadline, f"{method} {path} was not answered in {PATIENCE_S} s; at last {what}"
            time.sleep(0.3)


def _is_answer(reply: httpx.Response) -> bool:
    """Of the service: Serve's proxy, which starts before it, says 404 in plain text."""
    is_of_proxy = reply.status_code == 404 and not reply.headers["content-type"].startswith("application/json")
    return reply.status_code < 500 and reply.status_code != 429 and not is_of_proxy


Create = Callable[[Client, Post, Random], str]
"""How a client asks for a video."""


def ask_once(client: Client, post: Post, _: Random) -> str:
    return client.create(post)


def ask_twice_and_more(client: Client, post: Post, draws: Random) -> str:
    """The same POST up to eight times at one time."""
    num_posts = draws.randint(2, 8)
    threads = [threading.Thread(target=client.create, args=(post,)) for _ in range(num_posts - 1)]
    client.history.injected_at.append(time.time())
    for thread in threads:
        thread.start()
    video_id = client.create(post)
    for thread in threads:
        thread.join()
    return video_id


def ask_and_go_away(client: Client, post: Post, draws: Random) -> str:
    """Break off twice, then learn what has become of it; go away from its events too."""
    for _ in range(2):
        client.break_off("POST", post.path, post, draws)
    video_id = client.create(post)
    client.break_off("GET", f"/v1/videos/{video_id}/events", None, draws)
    return video_id


def ask_and_cancel(client: Client, post: Post, draws: Random) -> str:
    video_id = client.create(post)
    if draws.random() < 0.7:
        time.sleep(draws.uniform(0, 3))  # a moment at random is what this is about
        client.cancel(video_id)
        client.history.injected_at.append(time.time())
    return video_id


_NUMBERS = count()


def play(client: Client, create: Create, draws: Random, name: str) -> None:
    """One job: a video, or a preview and its commit; from the first request to the download."""
    prompt = f"{name} {next(_NUMBERS)}"
    steps = {"stage_one": {"num_inference_steps": draws.randint(5, 40)}}
    steps["stage_two"] = {"num_inference_steps": draws.randint(5, 40)}
    is_full = draws.random() < 0.7
    extras = {"seed": draws.getrandbits(40), **steps}
    model = "flashvideo" if is_full else "flashvideo-preview"
    post = Post("/v1/videos", prompt, {"model": model, "prompt": prompt, "flashvideo": extras})
    video_id = create(client, post, draws)
    told = client.follow(post.key, video_id)
    if not is_full and told.status == "completed":
        commit = Post(f"/v1/videos/{video_id}/commit", f"{prompt} commit", {})
        client.follow(commit.key, create(client, commit, draws))


def wait_for(client: Client, num_ended: int, is_over: Callable[[], bool]) -> None:
    until(lambda: len(client.history.ended) >= num_ended or is_over(), f"{num_ended} videos have ended")
