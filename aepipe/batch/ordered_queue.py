"""Items worked on by several threads and delivered in the order they were taken, with bounded memory.

Whoever finishes the item that is due delivers it and those that wait behind it: there is no thread that only reads or
only writes, so that as many threads as cores keep them all busy.
"""

import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")
Buffer = TypeVar("Buffer")
Done = TypeVar("Done")


class OrderedQueue(Generic[Item, Buffer, Done]):
    """Takes items in turn, has them worked on at one of a few buffers, and delivers what was done, one at a time.

    items: asked by one thread at a time. make_buffer: what an item needs until it is delivered; made when first needed,
    reused, at most `buffers` of them. deliver: called by one thread at a time, in the order of the items.
    """

    def __init__(
        self, items: Iterator[Item], *, make_buffer: Callable[[], Buffer], buffers: int, deliver: Callable[[Done], None]
    ) -> None:
        self._items = items
        self._make_buffer = make_buffer
        self._unmade = buffers
        self._deliver = deliver
        self._free: list[Buffer] = []
        self._parked: dict[int, tuple[Done, Buffer]] = {}
        self._taken = self._due = self._workers = 0
        self._over = self._delivering = False
        self._error: BaseException | None = None
        self._taking = threading.Lock()
        self._changed = threading.Condition()

    @property
    def is_open(self) -> bool:
        """Whether there may be items that nobody has taken."""
        return not self._over

    def work(self, step: Callable[[Item, Buffer], Done]) -> None:
        """Does items until none is left. Errors are kept for `finish`."""
        with self._changed:
            self._workers += 1
        try:
            while (taken := self._take()) is not None:
                index, item, buffer = taken
                self._hand_over(index, step(item, buffer), buffer)
        except BaseException as error:
            self.stop(error)
        finally:
            with self._changed:
                self._workers -= 1
                self._changed.notify_all()

    def finish(self) -> None:
        """Waits until every worker is through and lets the buffers go; raises the first error of any."""
        with self._changed:
            self._changed.wait_for(lambda: self._workers == 0)
            self._free.clear()
        if self._error is not None:
            raise self._error

    def stop(self, error: BaseException | None = None) -> None:
        """No more items are taken; `finish` raises the error, if there is one and it is the first."""
        with self._changed:
            self._over = True
            self._error = self._error or error
            self._changed.notify_all()

    def _take(self) -> tuple[int, Item, Buffer] | None:
        # The buffer first: the item that is due then always has one, and never waits for those behind it.
        buffer = self._acquire()
        if buffer is None:
            return None
        with self._taking:
            item = None if self._over else next(self._items, None)
            if item is None:
                self.stop()
                return None
            index = self._taken
            self._taken += 1
        return index, item, buffer

    def _acquire(self) -> Buffer | None:
        with self._changed:
            self._changed.wait_for(lambda: self._over or self._free or self._unmade)
            if self._over:
                return None
            if self._free:
                return self._free.pop()
            self._unmade -= 1
        return self._make_buffer()

    def _hand_over(self, index: int, done: Done, buffer: Buffer) -> None:
        with self._changed:
            self._parked[index] = done, buffer
            if self._delivering:
                return
            self._delivering = True
        while (due := self._next_due()) is not None:
            self._deliver(due[0])
            with self._changed:
                self._due += 1
                self._free.append(due[1])
                self._changed.notify_all()

    def _next_due(self) -> tuple[Done, Buffer] | None:
        with self._changed:
            due = self._parked.pop(self._due, None) if self._error is None else None
            self._delivering = due is not None
            return due
