"""Rows per batch and per block that keep a process within its memory."""

from typing import Literal

from aepipe.layout import Layout
from aepipe.tables.decoded_sizes import ReadLimits

_RESERVED_MB = 250  # Python, Arrow, onnxruntime, one session per core, Parquet writers
_LARGEST_BLOCK = 32_768
"""Rows per block: 65,536 are no faster, and workers wait longer for the last block."""
_LEAST_BLOCK_BYTES = 16 << 20
"""One large image fits into any budget."""

_ACTIVATIONS_MB = {"cpu": 32, "cuda": 2_048}
_WIDENING = {"table": 8, "image": 40}
"""Bytes of activations per byte of input: measured 40 for a convolution of 28 x 28 to 64 channels."""
_STEP_BYTES = 6_144
"""Bytes of activations per step of a recurrent network, for any number of channels: six vectors of 256."""


def batch_rows(layout: Layout, *, asked: int, device: Literal["cpu", "cuda"]) -> int:
    """Return the rows per call of the graph: `asked` on a CPU, more on a GPU, fewer if a row is large.

    >>> from aepipe.layout import Image
    >>> batch_rows(Layout(columns=("scan",), image=Image(channels=1, height=28, width=28)), asked=2048, device="cpu")
    267
    """
    activations = 4 * layout.features * _WIDENING["image" if layout.kind == "image" else "table"]
    for text in layout.texts:
        steps = 1 if text.is_set else text.length
        activations += steps * (_STEP_BYTES + 3 * 4 * text.size)  # logits, their logarithms and one temporary
    if layout.series is not None:
        activations += layout.series.steps * _STEP_BYTES
    most = (_ACTIVATIONS_MB[device] << 20) // max(1, activations)
    return max(1, min(asked if device == "cpu" else max(asked, _LARGEST_BLOCK), most))


def default_memory_mb(workers: int) -> int:
    """Return the default memory of a scoring process: more workers hold more blocks and partitions.

    >>> default_memory_mb(2), default_memory_mb(64)
    (600, 2000)
    """
    return min(2_000, 300 + 150 * workers)


def partitions_at_once(open_bytes: int, *, memory_mb: int, workers: int) -> int:
    """Return how many partitions may be read at the same time; the other workers help with those.

    Two workers that share a partition take 2 to 10 % longer than with one each, and a third less memory.

    Args:
        open_bytes: memory of an open file, without its rows.
        memory_mb: memory of the process.
        workers: number of workers.

    >>> [partitions_at_once(150 << 20, memory_mb=memory_mb, workers=2) for memory_mb in (600, 450)]
    [2, 1]
    """
    return max(1, min(workers, (memory_mb - _RESERVED_MB << 20) // max(1, open_bytes)))


def read_limits(*, memory_mb: int, workers: int, open_bytes: int = 0) -> ReadLimits:
    """Return the bytes that the rows of a block and large pages may take; a row that is larger is not read.

    Args:
        memory_mb: memory of the process.
        workers: number of workers.
        open_bytes: memory of an open file, without its rows.

    >>> [size >> 20 for size in read_limits(memory_mb=600, workers=2)]
    [29, 350]
    """
    # long texts are held twice more: in the rows that the writer collects, and in its pages
    block = _for_blocks(memory_mb=memory_mb, workers=workers, open_bytes=open_bytes) // (4 * (workers + 1))
    return ReadLimits(batch=max(_LEAST_BLOCK_BYTES, block), open=max(memory_mb - _RESERVED_MB, memory_mb // 4) << 20)


def block_rows(row_bytes: int, *, memory_mb: int, workers: int, open_bytes: int = 0) -> int:
    """Return the rows that a worker reads, scores and hands over at a time.

    Args:
        row_bytes: bytes of a row with its outputs.
        memory_mb: memory of the process.
        workers: number of workers.
        open_bytes: memory of an open file, without its rows.

    >>> block_rows(1_000, memory_mb=600, workers=2), block_rows(1_000_000, memory_mb=600, workers=2)
    (32768, 61)
    """
    available = _for_blocks(memory_mb=memory_mb, workers=workers, open_bytes=open_bytes)
    # One block per worker and one that waits to be written, each briefly twice: in Parquet's and in Arrow's form.
    return max(1, min(_LARGEST_BLOCK, available // (2 * (workers + 1) * row_bytes)))


def _for_blocks(*, memory_mb: int, workers: int, open_bytes: int) -> int:
    files = open_bytes * partitions_at_once(open_bytes, memory_mb=memory_mb, workers=workers)
    return max((memory_mb - _RESERVED_MB << 20) - files, memory_mb << 17)  # an eighth at least
