"""Conversion of X to an Arrow table, with the checks of scikit-learn."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from aepipe.api.frames import like, to_arrow
from aepipe.sklearn.fitted_table import FitInvalid

FEWEST_ROWS = 2


def is_frame(x: object) -> bool:
    """Return True for a data frame or an Arrow table, which has names and types of its own."""
    return isinstance(x, pa.Table | pa.RecordBatch) or hasattr(x, "columns") or hasattr(x, "__arrow_c_stream__")


def to_table(estimator: BaseEstimator, x: Any, *, reset: bool) -> pa.Table:
    """Return X as an Arrow table, and record or check its columns as scikit-learn does.

    Args:
        estimator: the estimator; `n_features_in_` and `feature_names_in_` are set or compared.
        x: data frame, Arrow table, or array-like of numbers (B, F); missing values are null or NaN.
        reset: record the columns, as in fit.

    Raises:
        ValueError: The shape, the names or the values do not fit.
        TypeError: X is sparse, or holds no numbers.
    """
    least = FEWEST_ROWS if reset else 1
    if not is_frame(x):
        array = validate_data(
            estimator, x, reset=reset, dtype=np.float64, ensure_all_finite="allow-nan", ensure_min_samples=least
        )
        return pa.table([pa.array(column, from_pandas=True) for column in array.T], names=_names(estimator))
    named = x if hasattr(x, "columns") and not isinstance(x, pa.Table | pa.RecordBatch) else to_arrow(x).to_pandas()
    validate_data(estimator, named, reset=reset, skip_check_array=True)
    table = to_arrow(x)
    if table.num_rows < least:
        raise ValueError(
            f"Found array with {table.num_rows} sample(s) (shape={table.shape}) while a minimum of {least} is required."
        )
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_floating(column.type) and pc.any(pc.is_inf(column)).as_py():
            raise FitInvalid(f"Input X contains infinity in column '{name}'. Replace it or remove the rows.")
    return table.rename_columns(_names(estimator))


def _names(estimator: BaseEstimator) -> list[str]:
    """Return the names of the columns in fit; x0, x1, ... for columns without a name."""
    names = getattr(estimator, "feature_names_in_", None)
    return [f"x{at}" for at in range(estimator.n_features_in_)] if names is None else list(names)


def kinds_of(x: object, table: pa.Table, columns: Any) -> dict[str, Any]:
    """Return the settings of the columns: those given, and number for the columns of an array."""
    given = dict(columns or {})
    return given if is_frame(x) else {**dict.fromkeys(table.column_names, "number"), **given}


def empty_like(x: Any) -> Any:
    """Return X without its rows, which `like_input` converts to; None for an array."""
    return like(x, to_arrow(x).slice(0, 0)) if is_frame(x) else None


def like_input(empty: Any, table: pa.Table) -> Any:
    """Convert a table to the type of X: its data frame, or a NumPy array (B, F)."""
    if empty is not None:
        return like(empty, table)
    return np.column_stack([column.to_numpy() for column in table.columns])
