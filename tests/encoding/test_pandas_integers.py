"""Integers with gaps from pandas: a column of floats is read as the integers that training saw."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from aepipe.config.job import parse_job
from aepipe.encoding import fit
from aepipe.tables.kind_inference import infer


def test_integers_with_gaps_from_pandas_are_scored_but_for_the_gaps() -> None:
    job = parse_job({"name": "t", "data": {"path": "."}}, source=Path("job.toml"))
    learned = pa.table({"count": pa.array(np.arange(100, 200), pa.int64()), "other": np.linspace(0, 1, 100)})
    encoding = fit(infer(learned.schema, job, learned), learned.to_batches())
    night = pa.Table.from_pandas(pd.DataFrame({"count": [150, None, 160], "other": [0.5, 0.5, 0.5]}))
    whole = pa.table({"count": pa.array([150, 155, 160], pa.int64()), "other": [0.5, 0.5, 0.5]})

    found, expected = encoding.encode(night.to_batches()[0]), encoding.encode(whole.to_batches()[0])

    assert night.schema.field("count").type == pa.float64()
    assert [encoding.invalid_reasons[code] for code in found.invalid][::2] == ["", ""]
    assert "missing" in encoding.invalid_reasons[found.invalid[1]]
    np.testing.assert_array_equal(found.arrays["num"][::2], expected.arrays["num"][::2])
