"""Thread limits for small tensors, where handing work to a second thread costs more than it saves."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SMALL_TABLE = 5_000_000
"""Values of the training rows below which a whole run, with its export, is faster on one thread."""
SMALL_STEP = 200_000_000
"""Multiplications of an optimizer step below which the step is faster on one thread, in a run of any size."""


@contextmanager
def single_threaded(when: bool) -> Iterator[None]:
    """Run torch on one thread within this context if `when` is true, and restore the thread count afterwards.

    On two busy cores, a table of 30 columns trained 5 to 10 times faster on one thread, images of 8x8 pixels 3 to 5
    times faster, and 840 image rows used an eighth of the CPU time.
    """
    threads = torch.get_num_threads()
    if when:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
