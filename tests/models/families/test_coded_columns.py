"""A table of codes only, through a family: its draws are rows of the source."""

import numpy as np
import pyarrow as pa
import torch

from aepipe.config.job import Model as Section
from aepipe.encoding import fit
from aepipe.inference.counter_rng import uniforms
from aepipe.models.export_parts import Sampler
from aepipe.models.families import build
from tests.support.columns import schema_of


def test_rows_that_a_family_draws_of_coded_columns_are_rows_like_the_source() -> None:
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "id": pa.array(rng.choice(np.array([2**60, 2**60 + 1, 2**60 + 3]), 300)),
            "price": pa.array(np.round(rng.lognormal(2, 1, 300), 2)),
            "shop": pa.array(rng.choice(np.array(["a", "b"]), 300)),
        }
    )
    schema = schema_of(table)
    encoding = fit(schema, table.to_batches(), as_codes=True)
    model = build(encoding.layout, Section(family="vae"), 0).eval()
    z = torch.randn(500, len(model.latent.names), generator=torch.Generator().manual_seed(0))
    codes = Sampler(model)(z, torch.rand(500, 3, generator=torch.Generator().manual_seed(1)))[0].detach().numpy()

    drawn = encoding.decode({"cat": codes}, uniforms("bins", seed=0, start=0, rows=500, width=3))

    assert drawn.schema == table.schema
    assert set(drawn["id"].to_pylist()) == {2**60, 2**60 + 1, 2**60 + 3}
    prices = drawn["price"].to_numpy()
    np.testing.assert_array_equal(prices, np.round(prices, 2))
    assert table["price"].to_numpy().min() <= prices.min() <= prices.max() <= table["price"].to_numpy().max()
