"""Threads that work while the network computes: one reads the next input, one writes the last output."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor


def prefetch(function, items):
    """Yield function(item) for each item, while a thread computes the next one."""
    with ThreadPoolExecutor(1) as thread:
        waiting = deque()
        for item in items:
            waiting.append(thread.submit(function, item))
            if len(waiting) > 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class BackgroundWriter:
    """Calls `function` in a thread; each call waits for the previous one and raises its error."""

    def __init__(self, function):
        self.function, self.thread, self.last = function, ThreadPoolExecutor(1), None

    def __enter__(self):
        return self

    def __call__(self, *arguments):
        if self.last:
            self.last.result()
        self.last = self.thread.submit(self.function, *arguments)

    def __exit__(self, kind, error, trace):
        self.thread.shutdown()
        if self.last and kind is None:
            self.last.result()
