"""An application of two stages that may both go to zero, and what a burst does to the numbers of their replicas."""

import time
from collections import Counter
from collections.abc import Callable
from itertools import count

from deployments.database.records import VideoRecord
from tests.deployments.service import PATIENCE_S, App


class Burst:
    """Keeps more videos in the queue than one replica takes, and sees the most replicas that each stage has had."""

    def __init__(self, app: App, accept: Callable[[int], VideoRecord]) -> None:
        self._app, self._accept, self._numbers = app, accept, count()
        self.videos: list[VideoRecord] = []
        self.most: Counter[str] = Counter()

    def until_replicas(self, **numbers: int) -> None:
        """Go on until so many run."""
        self._until(lambda now: now == numbers, num_waiting=4)

    def until_idle(self) -> None:
        """Ask for no more, until what was asked for is done and no replica is left."""
        self._until(lambda now: not any(now.values()), num_waiting=0)

    def _until(self, is_reached: Callable[[dict[str, int]], bool], num_waiting: int) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not is_reached(now := self._app.num_replicas()):
            self.most |= Counter(now)
            assert time.monotonic() < deadline, now
            states = [self._app.read(video).state for video in self.videos]
            while states.count("completed") + num_waiting > len(self.videos):
                self.videos.append(self._accept(next(self._numbers)))
            time.sleep(0.1)
        self.most |= Counter(now)
