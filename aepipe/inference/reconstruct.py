"""Decode latents to rows of the source."""

from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.encoding import Encoding

Arrays = Mapping[str, NDArray[np.generic]]
Run = Callable[[str, Arrays], dict[str, NDArray[np.generic]]]
"""Function that runs a part of a bundle by name."""


def rebuild(
    encoding: Encoding, run: Run, z: NDArray[np.generic], given: Arrays, *, invalid: NDArray[np.bool_]
) -> pa.Table:
    """Decode latents to rows in the columns and types of the source.

    Args:
        encoding: of the bundle.
        run: runs a part of the bundle.
        z: latents (B, Z).
        given: tensors of the given ports of the layout, B rows each.
        invalid: (B,), rows that become null.
    """
    decoded = run("decoder", {"z": z, **given})
    rows = pa.Table.from_batches([encoding.decode({**decoded, **given})])
    if not invalid.any():
        return rows
    return rows.take(pa.array(np.arange(rows.num_rows), mask=invalid))
