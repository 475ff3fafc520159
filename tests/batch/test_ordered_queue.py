"""Parallel work with ordered delivery and bounded memory."""

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from aepipe.batch.ordered_queue import OrderedQueue

THREADS = 4


class Ledger:
    """Records deliveries, the number of buffers, and whether two deliveries overlapped."""

    def __init__(self, items: Iterator[int], *, buffers: int = 3) -> None:
        self.delivered: list[int] = []
        self.made = 0
        self.busy = threading.Lock()
        self.queue = OrderedQueue(items, make_buffer=self.make, buffers=buffers, deliver=self.deliver)

    def make(self) -> list[int]:
        self.made += 1
        return []

    def deliver(self, done: int) -> None:
        assert self.busy.acquire(blocking=False)
        self.delivered.append(done)
        self.busy.release()

    def run(self, threads: int = THREADS, *, pause_s: float = 0.002) -> None:
        def step(item: int, buffer: list[int]) -> int:
            buffer.append(item)
            assert buffer == [item]  # no other worker shares it
            time.sleep(pause_s * PAUSES[item % len(PAUSES)])
            buffer.clear()
            return item

        helpers = [threading.Thread(target=self.queue.work, args=(step,)) for _ in range(threads - 1)]
        for helper in helpers:
            helper.start()
        self.queue.work(step)
        try:
            self.queue.finish()
        finally:
            for helper in helpers:
                helper.join(timeout=10)
                assert not helper.is_alive()


PAUSES = np.random.default_rng(0).random(97)


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("buffers", [1, 3])
def test_items_are_delivered_in_order_one_at_a_time(threads: int, buffers: int) -> None:
    ledger = Ledger(iter(range(100)), buffers=buffers)

    ledger.run(threads)

    assert ledger.delivered == list(range(100))
    assert ledger.made <= buffers


def test_one_thread_needs_one_buffer() -> None:
    ledger = Ledger(iter(range(20)))

    ledger.run(threads=1, pause_s=0)

    assert ledger.made == 1


def test_queue_without_items_is_closed() -> None:
    ledger = Ledger(iter([]))

    ledger.run()

    assert ledger.delivered == []
    assert not ledger.queue.is_open


def test_late_worker_returns_at_once() -> None:
    ledger = Ledger(iter(range(5)))
    ledger.run()

    ledger.run()

    assert ledger.delivered == list(range(5))


def failing(at: int) -> Iterator[int]:
    yield from range(at)
    raise OSError("the disk is gone")


def test_error_of_the_items_ends_all_threads_and_is_raised_by_finish() -> None:
    ledger = Ledger(failing(10))

    with pytest.raises(OSError, match="the disk is gone"):
        ledger.run()

    assert ledger.delivered == list(range(len(ledger.delivered)))


def test_error_of_a_step_ends_all_threads_and_later_items_are_not_delivered() -> None:
    class Picky(Ledger):
        def make(self) -> list[int]:
            self.made += 1
            if self.made == 2:
                raise MemoryError("no second buffer")
            return []

    ledger = Picky(iter(range(100)))

    with pytest.raises(MemoryError, match="no second buffer"):
        ledger.run()

    assert len(ledger.delivered) < 100
    assert ledger.delivered == list(range(len(ledger.delivered)))


def test_error_of_the_delivery_ends_all_threads() -> None:
    class Full(Ledger):
        def deliver(self, done: int) -> None:
            if done == 7:
                raise OSError("the disk is full")
            super().deliver(done)

    ledger = Full(iter(range(100)))

    with pytest.raises(OSError, match="the disk is full"):
        ledger.run()

    assert ledger.delivered == list(range(7))


def test_stopped_queue_takes_no_more_items() -> None:
    def endless() -> Iterator[int]:
        at = 0
        while True:
            yield at
            at += 1

    ledger = Ledger(endless())
    threading.Timer(0.05, ledger.queue.stop, args=(KeyboardInterrupt(),)).start()

    with pytest.raises(KeyboardInterrupt):
        ledger.run()
