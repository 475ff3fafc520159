"""Draws of a family have missing values as often as the source, and next to the same values."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from aepipe.config.job import Model as Section
from aepipe.config.job import Train
from aepipe.encoding import fit as fit_encoding
from aepipe.models.export_parts import Sampler
from aepipe.models.families import build
from aepipe.training.loop import fit
from tests.support.columns import schema_of

TRAIN, DRAWN = 2_000, 4_000
SHARES = {"income": 0.2, "town": 0.1}


def rows(count: int) -> pa.Table:
    """Generate rows with income missing for most who have no job, and town missing for a tenth of all."""
    rng = np.random.default_rng(0)
    jobless = rng.random(count) < 0.25
    income, town = rng.lognormal(3, 0.5, count), rng.choice(np.array(["a", "b", "c"]), count)
    no_income, no_town = jobless & (rng.random(count) < 0.8), rng.random(count) < SHARES["town"]
    return pa.table(
        {
            "income": pa.array(income, mask=no_income),
            "town": pa.array(town, mask=no_town),
            "job": np.where(jobless, "none", "some"),
        }
    )


@pytest.mark.parametrize("as_codes", [False, True], ids=["numbers", "codes"])
def test_missing_values_are_drawn_at_their_rate_and_in_the_right_rows(as_codes: bool) -> None:
    table = rows(TRAIN)
    encoding = fit_encoding(schema_of(table), table.to_batches(), as_codes=as_codes)
    arrays = encoding.encode(table.combine_chunks().to_batches()[0]).arrays
    layout = encoding.layout
    model = build(layout, Section.model_validate({"family": "vae", "latent": 4}), 0)
    fit(model, arrays, {name: array[:500] for name, array in arrays.items()}, Train(epochs=20))

    generator = torch.Generator().manual_seed(1)
    z = torch.randn(DRAWN, 4, generator=generator)
    noise = [
        torch.randn(DRAWN, *port.row_shape, generator=generator)
        if port.noise == "normal"
        else torch.rand(DRAWN, *port.row_shape, generator=generator)
        for port in model.likelihood.noise
    ]
    found = Sampler(model)(z, *noise)
    names = [port.name for port in layout.rebuilt_ports]
    drawn = encoding.decode({name: tensor.detach().numpy() for name, tensor in zip(names, found, strict=True)})

    for name, share in SHARES.items():
        bound = 4 * np.sqrt(share * (1 - share) * (1 / TRAIN + 1 / DRAWN))  # four standard deviations, both sides
        assert abs(drawn[name].null_count / DRAWN - table[name].null_count / TRAIN) < bound, name
    jobless = np.array(drawn["job"].to_pylist()) == "none"
    missing = drawn["income"].is_null().to_numpy(zero_copy_only=False)
    assert missing[jobless].mean() > 0.5
    assert missing[~jobless].mean() < 0.1
