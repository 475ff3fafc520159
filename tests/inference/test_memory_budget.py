"""Rows per batch and block within the memory."""

import pytest

from aepipe.inference.memory_budget import batch_rows, block_rows
from aepipe.layout import Image, Layout, Number


def table(columns: int) -> Layout:
    numbers = tuple(Number(name=str(index), column=index) for index in range(columns))
    return Layout(columns=tuple(map(str, range(columns))), numbers=numbers)


def image(side: int) -> Layout:
    return Layout(columns=("scan",), image=Image(channels=1, height=side, width=side))


@pytest.mark.parametrize("layout", [table(1), table(64), image(8)])
def test_small_rows_run_in_the_requested_batches_on_a_cpu(layout: Layout) -> None:
    assert batch_rows(layout, asked=2048, device="cpu") == 2048


def test_large_rows_are_run_in_smaller_batches() -> None:
    sizes = [batch_rows(image(side), asked=2048, device="cpu") for side in (28, 128, 1024, 8192)]

    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 1


def test_a_gpu_gets_large_batches() -> None:
    assert batch_rows(table(64), asked=2048, device="cuda") == 32_768


@pytest.mark.parametrize("workers", [1, 2, 16, 64])
@pytest.mark.parametrize("row_bytes", [40, 4_000, 400_000])
def test_the_blocks_of_all_workers_fit_the_memory(workers: int, row_bytes: int) -> None:
    for memory_mb in (128, 600, 4_000):
        rows = block_rows(row_bytes, memory_mb=memory_mb, workers=workers)

        assert rows == 1 or 2 * (workers + 1) * rows * row_bytes <= memory_mb * 2**20
