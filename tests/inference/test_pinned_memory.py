"""Pinned memory without a GPU: calls to the CUDA runtime, recorded by a fake runtime."""

import gc
from types import SimpleNamespace

import numpy as np
import pytest

from aepipe.inference import pinned_memory as module
from aepipe.inference.pinned_memory import pinned


class Runtime:
    """CUDA runtime that returns one status for every registration."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.calls: list[tuple[str, int]] = []

    def cudaHostRegister(self, address: SimpleNamespace, size: SimpleNamespace, flags: SimpleNamespace) -> int:
        self.calls.append(("register", size.value))
        return self.status

    def cudaHostUnregister(self, address: SimpleNamespace) -> int:
        self.calls.append(("unregister", address.value))
        return 0

    def cudaGetLastError(self) -> int:
        self.calls.append(("forget", 0))
        return self.status


@pytest.mark.slow
def test_memory_is_unlocked_when_its_array_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime(status=0)
    monkeypatch.setattr(module, "_runtime", lambda: runtime)

    values = pinned(np.ones((4, 8), np.float32))
    address = values.ctypes.data
    assert runtime.calls == [("register", 128)]
    del values
    gc.collect()

    assert runtime.calls == [("register", 128), ("unregister", address)]


@pytest.mark.slow
def test_memory_that_cuda_refuses_is_used_unpinned(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime(status=2)
    monkeypatch.setattr(module, "_runtime", lambda: runtime)

    values = pinned(np.ones(8, np.float32))
    assert values.tolist() == [1.0] * 8
    del values
    gc.collect()

    assert runtime.calls == [("register", 32), ("forget", 0)]


def test_without_a_cuda_runtime_the_array_is_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_runtime", lambda: None)
    values = np.ones(8)

    assert pinned(values) is values
