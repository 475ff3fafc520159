"""Ordered parallel map with bounded buffers.

Several threads work on items; results are delivered in the order of the items, one at a time. The thread that finishes
the item that is due delivers it and all finished items behind it: there is no thread that only reads or only writes, so
one thread per core keeps all cores busy.
"""

import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")
Buffer = TypeVar("Buffer")
Done = TypeVar("Done")


class OrderedQueue(Generic[Item, Buffer, Done]):
    """Queue of items whose results are delivered in order.

    Args:
        items: advanced by one thread at a time.
        make_buffer: makes what an item needs until it is delivered; called when first needed, buffers are reused.
        buffers: largest number of buffers.
        deliver: called by one thread at a time, in the order of the items.
    """

    def __init__(
        self, items: Iterator[Item], *, make_buffer: Callable[[], Buffer], buffers: int, deliver: Callable[[Done], None]
    ) -> None:
        self._items = items
        self._make_buffer = make_buffer
        self._buffers_left = buffers
        self._deliver = deliver
        self._free: list[Buffer] = []
        self._reordered: dict[int, tuple[Done, Buffer]] = {}
        self._taken = self._next_index = self._workers = 0
        self._is_over = self._is_delivering = False
        self._error: BaseException | None = None
        self._taking = threading.Lock()
        self._changed = threading.Condition()

    @property
    def is_open(self) -> bool:
        """True while there may be items to take."""
        return not self._is_over

    def work(self, step: Callable[[Item, Buffer], Done]) -> None:
        """Process items until none is left; `finish` raises the errors."""
        with self._changed:
            self._workers += 1
        try:
            while (taken := self._take()) is not None:
                index, item, buffer = taken
                self._finish_item(index, step(item, buffer), buffer)
        except BaseException as error:
            self.stop(error)
        finally:
            with self._changed:
                self._workers -= 1
                self._changed.notify_all()

    def finish(self) -> None:
        """Wait for every worker, release the buffers and raise the first error, if any."""
        with self._changed:
            self._changed.wait_for(lambda: self._workers == 0)
            self._free.clear()
        if self._error is not None:
            raise self._error

    def stop(self, error: BaseException | None = None) -> None:
        """Take no more items; `finish` raises the error if it is the first."""
        with self._changed:
            self._is_over = True
            self._error = self._error or error
            self._changed.notify_all()

    def _take(self) -> tuple[int, Item, Buffer] | None:
        # The buffer first: the item that is due then always has one, and never waits for items behind it.
        buffer = self._acquire_buffer()
        if buffer is None:
            return None
        with self._taking:
            item = None if self._is_over else next(self._items, None)
            if item is None:
                self.stop()
                return None
            index = self._taken
            self._taken += 1
        return index, item, buffer

    def _acquire_buffer(self) -> Buffer | None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_over or self._free or self._buffers_left)
            if self._is_over:
                return None
            if self._free:
                return self._free.pop()
            self._buffers_left -= 1
        return self._make_buffer()

    def _finish_item(self, index: int, done: Done, buffer: Buffer) -> None:
        with self._changed:
            self._reordered[index] = done, buffer
            if self._is_delivering:
                return
            self._is_delivering = True
        while (due := self._pop_due()) is not None:
            self._deliver(due[0])
            with self._changed:
                self._next_index += 1
                self._free.append(due[1])
                self._changed.notify_all()

    def _pop_due(self) -> tuple[Done, Buffer] | None:
        with self._changed:
            due = self._reordered.pop(self._next_index, None) if self._error is None else None
            self._is_delivering = due is not None
            return due
