"""Two similar tables with every type of column."""

import numpy as np
import pyarrow as pa


def real() -> pa.Table:
    """Generate four hundred rows."""
    return _people(400, seed=0, slope=2.0, towns=(0.5, 0.3, 0.2))


def synthetic() -> pa.Table:
    """Generate 350 rows with a weaker relation and other shares."""
    return _people(350, seed=1, slope=1.0, towns=(0.4, 0.5, 0.1))


def _people(rows: int, *, seed: int, slope: float, towns: tuple[float, float, float]) -> pa.Table:
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 70, rows)
    wage = np.round(1_000 + slope * 20 * age + 300 * rng.standard_normal(rows), 1)
    town = rng.choice(["Ulm", "Bonn", "Kiel"], rows, p=towns)
    trade = np.where((town == "Ulm") & (age > 40), "smith", rng.choice(["baker", "smith", "clerk"], rows))
    return pa.table(
        {
            "age": pa.array(age, mask=rng.random(rows) < 0.05),
            "wage": wage,
            "born": pa.array((20_000 - 365 * age).astype(np.int32), pa.date32()),
            "town": pa.array(town).dictionary_encode(),
            "trade": pa.array(trade, mask=rng.random(rows) < 0.1),
            "owner": rng.random(rows) < 0.3,
        }
    )
