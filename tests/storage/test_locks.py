"""Locks between threads; test_crashes covers processes."""

import os
import threading
from pathlib import Path

import pytest

from aepipe.errors import Busy
from aepipe.storage import lock


def test_held_lock_is_busy_and_names_file_and_holder(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "dt=2026-01-01.lock"

    with (
        lock(path),
        pytest.raises(Busy, match=rf"{path} is still held by process {os.getpid()} after .* s\. Wait"),
        lock(path),
    ):
        raise AssertionError("two threads held one lock")


def is_free(path: Path) -> bool:
    try:
        with lock(path):
            return True
    except Busy:
        return False


def test_lock_is_free_after_its_block(tmp_path: Path) -> None:
    with lock(tmp_path / "lock"):
        assert not is_free(tmp_path / "lock")

    assert is_free(tmp_path / "lock")


def test_lock_is_free_after_an_exception(tmp_path: Path) -> None:
    with pytest.raises(KeyError), lock(tmp_path / "lock"):
        raise KeyError

    assert is_free(tmp_path / "lock")


def test_waiting_ends_when_the_holder_does(tmp_path: Path) -> None:
    held, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with lock(tmp_path / "lock"):
            held.set()
            leave.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    threading.Timer(0.1, leave.set).start()

    with lock(tmp_path / "lock", wait_s=30):
        assert leave.is_set()
    holder.join()


def test_busy_names_the_seconds_waited(tmp_path: Path) -> None:
    with lock(tmp_path / "lock"), pytest.raises(Busy, match=r"after 0\.05 s"), lock(tmp_path / "lock", wait_s=0.05):
        raise AssertionError("two threads held one lock")


def test_threads_hold_the_lock_one_at_a_time(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def enter() -> None:
        for _ in range(10):
            with lock(tmp_path / "lock", wait_s=60):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(most) == 40
    assert set(most) == {1}
