"""What labels say of rows."""

import numpy as np
import pyarrow as pa

from aepipe import where


def truth_of(anomaly: str, rows: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Whether the truth of each row is known, and whether it is an anomaly, (B,) of booleans each."""
    known = np.ones(rows.num_rows, np.bool_)
    for name in where.columns(anomaly):
        known &= rows[name].is_valid().to_numpy()
    return known, where.apply(anomaly, rows).to_numpy(zero_copy_only=False)
