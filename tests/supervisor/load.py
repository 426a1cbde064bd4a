"""Continuous load in a thread of its own, which a test waits for: see benchmarks/traffic.py."""

import asyncio
import threading

from benchmarks.traffic import ANSWER_S, Traffic


class Load(Traffic):
    """Traffic from entering the block to leaving it; `mix` says how many clients there are of each kind."""

    def __init__(self, port, is_tls=False, **mix):
        super().__init__(port, {"steady": 4, "slow": 4, "fresh": 2, "streams": 1, **mix}, is_tls)
        self.news = threading.Condition()
        self.thread = threading.Thread(target=lambda: asyncio.run(self.run()), daemon=True)

    def __enter__(self):
        self.thread.start()
        self.wait_for_more(20)
        return self

    def __exit__(self, *fault):
        self.stopping = True
        self.thread.join(ANSWER_S + 10)
        assert not self.thread.is_alive(), "the load does not end: an answer is owed for ever"

    def wait_for_more(self, count):
        """Wait until so many more requests were answered."""
        wanted = self.total + count
        with self.news:
            assert self.news.wait_for(lambda: self.total >= wanted, ANSWER_S), (
                f"no answers any more; lost: {self.lost[:5]}"
            )

    def note(self, kind, status, body):
        """Count an answer."""
        with self.news:
            super().note(kind, status, body)
            self.news.notify_all()
