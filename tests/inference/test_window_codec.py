"""Families that can draw series from their latents."""

import numpy as np
import pytest

from aepipe.config.job import Model
from aepipe.encoding import fit
from aepipe.errors import OptionInvalid
from aepipe.inference.window_codec import FAMILIES
from aepipe.models import families
from aepipe.series.cutting import window_schema, window_table


@pytest.mark.slow
def test_the_families_that_draw_series_have_a_vector_of_real_latents_per_window() -> None:
    windows = np.random.default_rng(0).normal(size=(64, 2, 16)).astype(np.float32)
    able = set()
    for name in families.names():
        for by_step in (False, True):
            schema = window_schema(("load", "heat"), 16, by_step=by_step)
            encoding = fit(schema, window_table(windows, schema).combine_chunks().to_batches())
            try:
                built = families.build(encoding.layout, Model(family=name), seed=0)
            except OptionInvalid:
                continue
            parts = {part.name for part in built.parts()}
            if {"encoder", "decoder"} <= parts and built.latent.kind == "real" and built.latent.is_written:
                able.add(name)

    assert able == set(FAMILIES)
