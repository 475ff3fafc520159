"""How many rows are held and run at a time, so that a process stays within its memory."""

from typing import Literal

from aepipe.layout import Layout

_RESERVED_MB = 250  # Python, Arrow, onnxruntime, a session a core, Parquet writers
_LARGEST_BLOCK = 32_768
"""Rows of a block: 65,536 took as long, and the last of them keeps one worker waiting for the others for longer."""

_ACTIVATIONS_MB = {"cpu": 32, "cuda": 2_048}
_WIDENING = {"table": 8, "image": 40}
"""Bytes of activations a byte of input: measured 40 for a convolution of 28 x 28 to 64 channels."""
_STEP_BYTES = 6_144
"""Activations of a step of a recurrent network, of any number of channels: six vectors of 256."""


def batch_rows(layout: Layout, *, asked: int, device: Literal["cpu", "cuda"]) -> int:
    """Rows of one call of the graph: as asked on a CPU, many on a GPU, and fewer where a row is large.

    >>> from aepipe.layout import Image
    >>> batch_rows(Layout(columns=("scan",), image=Image(channels=1, height=28, width=28)), asked=2048, device="cpu")
    267
    """
    activations = 4 * layout.features * _WIDENING["image" if layout.kind == "image" else "table"]
    if layout.series is not None:
        activations += layout.series.steps * _STEP_BYTES
    most = (_ACTIVATIONS_MB[device] << 20) // max(1, activations)
    return max(1, min(asked if device == "cpu" else max(asked, _LARGEST_BLOCK), most))


def default_memory_mb(workers: int) -> int:
    """What a scoring process may hold where nobody says: more workers hold more blocks and partitions.

    >>> default_memory_mb(2), default_memory_mb(64)
    (600, 2000)
    """
    return min(2_000, 300 + 150 * workers)


def partitions_at_once(open_bytes: int, *, memory_mb: int, workers: int) -> int:
    """How many partitions may be read at the same time; workers that begin none help with those.

    open_bytes: what a file takes beside its rows while it is read. Two workers that share a partition take 2 to 10 %
    longer than with one each, and a third less memory.

    >>> [partitions_at_once(150 << 20, memory_mb=memory_mb, workers=2) for memory_mb in (600, 450)]
    [2, 1]
    """
    return max(1, min(workers, (memory_mb - _RESERVED_MB << 20) // max(1, open_bytes)))


def block_rows(row_bytes: int, *, memory_mb: int, workers: int, open_bytes: int = 0) -> int:
    """Rows that a worker reads, scores and hands over at a time.

    row_bytes: of a row as it is read and of its answers. One block a worker is held, and one that waits for its turn;
    each may be there twice for a moment, in Parquet's and in Arrow's form. open_bytes: as of `partitions_at_once`.

    >>> block_rows(1_000, memory_mb=600, workers=2), block_rows(1_000_000, memory_mb=600, workers=2)
    (32768, 61)
    """
    files = open_bytes * partitions_at_once(open_bytes, memory_mb=memory_mb, workers=workers)
    available = max((memory_mb - _RESERVED_MB << 20) - files, memory_mb << 17)  # an eighth at least
    return max(1, min(_LARGEST_BLOCK, available // (2 * (workers + 1) * row_bytes)))
