"""Latents turned into rows of the source."""

from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.encoding import Encoding

Arrays = Mapping[str, NDArray[np.generic]]
Run = Callable[[str, Arrays], dict[str, NDArray[np.generic]]]
"""Runs a part of a bundle by its name."""


def rebuild(
    encoding: Encoding, run: Run, z: NDArray[np.generic], given: Arrays, *, invalid: NDArray[np.bool_]
) -> pa.Table:
    """The row that the decoder makes of each z (B, Z), in the source's columns and types; null where `invalid` (B,).

    given: the tensors of the layout's given ports, B rows each.
    """
    decoded = run("decoder", {"z": z, **given})
    rows = pa.Table.from_batches([encoding.decode({**decoded, **given})])
    if not invalid.any():
        return rows
    return rows.take(pa.array(np.arange(rows.num_rows), mask=invalid))
