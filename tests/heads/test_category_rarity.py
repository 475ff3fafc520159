import numpy as np
import pytest
import torch

from aepipe.config.job import Model
from aepipe.heads.category_rarity import fit_category_rarity
from aepipe.heads.model_outputs import fit_probe
from aepipe.layout import FIRST_VALUE, UNSEEN, Category, Layout, Number, Text
from aepipe.models import families
from aepipe.models.layers.loss_pooling import RESIDUAL_WIDTH


def layout_of(*sizes: int, bins: int = 0) -> Layout:
    """Return a layout of a number, whose codes of bins may be a category as well, and categories of these sizes."""
    categories = tuple(
        Category(name=f"c{at}", column=at + 1, size=size, bins=bins if at == 0 else 0) for at, size in enumerate(sizes)
    )
    numbers = (Number(name="x", column=0, may_be_missing=False),)
    return Layout(columns=("x", *(each.name for each in categories)), numbers=numbers, categories=categories)


def codes_of(layout: Layout, rows: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    sizes = [category.size for category in layout.categories]
    return np.stack([generator.integers(FIRST_VALUE, size, rows) for size in sizes], 1).astype(np.int32)


def test_the_cost_of_a_category_is_the_logarithm_of_its_share() -> None:
    layout = layout_of(5, 9)
    codes = codes_of(layout, 200)

    found = fit_category_rarity(layout, {"cat": codes})(torch.from_numpy(codes)).numpy()

    for column, size in enumerate((5, 9)):
        counts = np.array([(codes[:, column] == code).sum() for code in codes[:, column]])
        np.testing.assert_allclose(found[:, column], -np.log((counts + 0.5) / (200 + 0.5 * size)), rtol=1e-5)


def test_a_value_that_training_never_saw_counts_as_half_a_row() -> None:
    layout = layout_of(6)
    rarity = fit_category_rarity(layout, {"cat": codes_of(layout, 100)})

    found = rarity(torch.tensor([[UNSEEN]]))

    assert found.item() == pytest.approx(-np.log(0.5 / 103), rel=1e-5)


def test_bins_of_numbers_and_tokens_of_texts_are_left_out() -> None:
    layout = layout_of(9, 5, bins=6)
    as_text = layout_of(9, 5).model_copy(update={"texts": (Text(name="c0", column=1, first=0, length=1, size=9),)})

    for each in (layout, as_text):
        codes = codes_of(each, 50)
        assert fit_category_rarity(each, {"cat": codes})(torch.from_numpy(codes)).shape == (50, 1)
    assert fit_category_rarity(layout_of(9, bins=6), {"cat": codes_of(layout_of(9), 50)}) is None
    assert fit_category_rarity(layout_of(), {}) is None


def test_costs_of_very_many_categories_are_added_in_blocks() -> None:
    layout = layout_of(*[5] * 600)
    codes = codes_of(layout, 40)

    found = fit_category_rarity(layout, {"cat": codes})(torch.from_numpy(codes))

    each = [
        fit_category_rarity(layout_of(5), {"cat": codes[:, [at]]})(torch.from_numpy(codes[:, [at]]))
        for at in range(600)
    ]
    assert found.shape == (40, 200) and found.shape[1] <= RESIDUAL_WIDTH
    torch.testing.assert_close(found[:, 1], torch.cat(each[3:6], 1).sum(1))
    torch.testing.assert_close(found.sum(1), torch.cat(each, 1).sum(1))


def test_scoring_inputs_have_the_rarity_of_training_rows() -> None:
    layout = layout_of(5, 9)
    model = families.build(layout, Model(family="ae"), seed=0)
    rows = {"num": np.random.default_rng(1).normal(size=(80, 1)).astype(np.float32), "cat": codes_of(layout, 80)}

    probe = fit_probe(model, rows, most=1_000, seed=0)

    found = probe(*(torch.from_numpy(rows[port.name]) for port in layout.ports)).evidence.rarity
    expected = fit_category_rarity(layout, rows)(torch.from_numpy(rows["cat"]))
    torch.testing.assert_close(found, expected)
