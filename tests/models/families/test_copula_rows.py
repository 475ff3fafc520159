"""Rows of a copula that small tables are first trained on."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from aepipe.config.job import Model as Section
from aepipe.config.job import Train
from aepipe.layout import FIRST_VALUE, Category, Layout
from aepipe.models.base import Batch, StepContext
from aepipe.models.families import build
from aepipe.models.families.tabular_vae import TabularVae
from aepipe.training.loop import fit

BINS, COLUMNS = 20, 4
LAYOUT = Layout(
    columns=tuple("abcd"),
    categories=tuple(
        Category(name=name, column=at, size=FIRST_VALUE + BINS, bins=BINS) for at, name in enumerate("abcd")
    ),
)


def numbers(rows: int, seed: int) -> dict[str, NDArray[np.int32]]:
    """Draw normal numbers of one correlation matrix as bins of equal shares."""
    mixed = np.random.default_rng(5).standard_normal((COLUMNS, COLUMNS)) + np.eye(COLUMNS)
    values = np.random.default_rng(seed).standard_normal((rows, COLUMNS)) @ mixed / np.linalg.norm(mixed, axis=0)
    edges = np.quantile(np.random.default_rng(9).standard_normal(100_000), np.arange(1, BINS) / BINS)
    return {"cat": (FIRST_VALUE + np.searchsorted(edges, values)).astype(np.int32)}


def built(*, knows_values: bool) -> TabularVae:
    model = build(LAYOUT, Section.model_validate({"family": "tabular_vae"}), 0)
    assert isinstance(model, TabularVae)
    if knows_values:
        model.code_orders = (tuple(range(FIRST_VALUE + BINS)),) * COLUMNS
    return model


def batch(model: TabularVae, rows: int) -> Batch:
    row = model.preprocessing({"cat": torch.from_numpy(numbers(rows, 0)["cat"])})
    return Batch(row, row)


def with_copula_rows(model: TabularVae, rows: Batch, progress: float) -> Batch:
    assert model.copula_rows is not None
    return model._with_copula_rows(rows, model.copula_rows, StepContext(progress, torch.Generator()))


@pytest.mark.slow
def test_a_small_table_of_correlated_numbers_is_learned_better() -> None:
    found = []
    for knows_values in (False, True):
        model = built(knows_values=knows_values)
        fit(model, numbers(210, 0), numbers(30, 10), Train())
        row = model.preprocessing({"cat": torch.from_numpy(numbers(2_000, 20)["cat"])})
        with torch.no_grad():
            found.append(model.card_metrics(Batch(row, row), torch.Generator().manual_seed(0))["log_likelihood"])

    assert found[1] > found[0] + 0.2


def test_copula_rows_are_added_in_random_places_and_become_fewer_to_none() -> None:
    model = built(knows_values=True)
    model.training_rows = 200
    rows = batch(model, 200)
    model.prepare(rows)

    first, later, last = (with_copula_rows(model, rows, progress) for progress in (0.0, 0.075, 0.15))

    assert len(first.input.codes) == len(first.target.codes) == 800
    assert torch.equal(first.input.codes, first.target.codes)
    assert len(later.input.codes) == 500
    assert last is rows
    own = {tuple(codes) for codes in rows.input.codes.tolist()}
    places = [at for at, codes in enumerate(first.input.codes.tolist()) if tuple(codes) in own]
    assert 300 < np.mean(places) < 500


def test_large_tables_unknown_values_and_private_training_have_no_copula_rows() -> None:
    large, unknown, private = built(knows_values=True), built(knows_values=False), built(knows_values=True)
    large.training_rows, unknown.training_rows, private.training_rows = 3_001, 200, 200
    rows = batch(large, 200)

    large.prepare(rows)
    unknown.prepare(rows)
    private.prepare_privately([torch.ones(FIRST_VALUE + BINS) for _ in range(COLUMNS)])

    assert [model.copula_rows for model in (large, unknown, private)] == [None] * 3
