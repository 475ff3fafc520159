"""Scores of cells given the other cells: independence of their own value, broken relations, new codes, nulls."""

import numpy as np
import pytest
import torch

from aepipe.config.job import Model
from aepipe.heads import scores as heads
from aepipe.heads.attribution import fit_attribution
from aepipe.heads.base import HeadStats
from aepipe.heads.cell_predictor import CellPredictor, CellRows, fit_predictor, predicted_categories
from aepipe.heads.cell_scores import CellScores, UnusualCells, fit_cell_scores
from aepipe.heads.impossible_cells import ImpossibleCells
from aepipe.heads.model_outputs import ModelProbe, collect_outputs
from aepipe.heads.scorer import Scorer, fit_scorer
from aepipe.layout import FIRST_VALUE, UNSEEN, Category, Layout, Number
from aepipe.models import families
from tests.support.head_models import Rows, mixed_layout, random_rows
from tests.support.layouts import LAYOUTS
from tests.support.layouts import random_rows as any_rows

ROWS = 1_000
LAYOUT = Layout(
    columns=("a", "b", "sum", "kind", "group"),
    numbers=tuple(
        Number(name=name, column=at, may_be_missing=name == "b") for at, name in enumerate(("a", "b", "sum"))
    ),
    categories=(
        Category(name="kind", column=3, size=FIRST_VALUE + 4),
        Category(name="group", column=4, size=FIRST_VALUE + 2),
    ),
)
"""`sum` is a + b, scaled; `group` is the parity of `kind`."""


def _rows(rows: int, seed: int) -> Rows:
    generator = np.random.default_rng(seed)
    a, b = generator.normal(size=(2, rows))
    kind = generator.integers(0, 4, rows)
    return {
        "num": np.stack([a, b, (a + b) / np.sqrt(2)], 1).astype(np.float32),
        "cat": (np.stack([kind, kind % 2], 1) + FIRST_VALUE).astype(np.int32),
    }


@pytest.fixture(scope="module")
def fitted() -> tuple[ModelProbe, CellScores, object]:
    probe = ModelProbe(families.build(LAYOUT, Model(family="pca"), seed=0)).eval()
    train, dev = _rows(ROWS, 0), _rows(300, 1)
    attribution = fit_attribution(probe, train, dev, most=ROWS, seed=0)
    return probe, fit_cell_scores(probe, attribution, train, dev, most=ROWS, seed=0, alpha=0.01), attribution


@torch.no_grad()
def _cells(fitted: tuple, rows: Rows) -> UnusualCells:  # type: ignore[type-arg]
    probe, scores, attribution = fitted
    outputs = probe(torch.from_numpy(rows["num"]), torch.from_numpy(rows["cat"]))
    rows_of = CellRows.of(outputs.row)
    return scores(rows_of, attribution(outputs), scores.ruled_out(rows_of))


@torch.no_grad()
def test_a_cell_that_training_rows_rule_out_is_the_first_reason(fitted: tuple) -> None:  # type: ignore[type-arg]
    probe, scores, attribution = fitted
    usual = collect_outputs(probe, _rows(200, 4), most=200, seed=0)
    head = heads.find("reconstruction").fit(HeadStats(usual, usual, 0))
    rows = _rows(200, 3)
    rows["num"][:, 0] += 3.0
    rows["cat"][:, 1] = 2 * FIRST_VALUE + 1 - rows["cat"][:, 1]

    def first_reasons(cells: CellScores | None) -> np.ndarray:
        scorer = Scorer(probe, head, attribution, reasons=1, cells=cells)
        names = [port.name for port in scorer.part().outputs]
        outputs = scorer(torch.from_numpy(rows["num"]), torch.from_numpy(rows["cat"]))
        return np.asarray(outputs[names.index("reason")][:, 0])

    column = LAYOUT.categories[1].column
    assert (first_reasons(scores) == column).mean() > 0.9
    assert (first_reasons(None) == column).mean() < 0.5


def test_the_prediction_of_a_cell_does_not_depend_on_the_cell() -> None:
    layout = mixed_layout()
    predictor = CellPredictor(layout, seed=0).double()
    for parameter in predictor.parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    dense = torch.randn(8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    codes = torch.from_numpy(random_rows(layout, 8)["cat"]).long()

    def signed(x: torch.Tensor) -> torch.Tensor:
        # numbers far above every prediction: the error is number - prediction
        return x + 1e6 - predictor(x + 1e6, codes)[:, :3]

    with torch.no_grad():
        moved = signed(dense + torch.tensor([0.5, 0, 0], dtype=torch.float64)) - signed(dense)

    assert moved[:, 0].abs().max() < 1e-6


@pytest.mark.parametrize("numbers", [1, 3, 100])  # few and many take different products
@torch.no_grad()
def test_a_number_is_predicted_by_the_formula_of_the_predictor(numbers: int) -> None:
    """Oracle: one number after the other, with its own value as 0 in all sums."""
    layout = Layout(
        columns=tuple(f"x{at}" for at in range(numbers)),
        numbers=tuple(Number(name=f"x{at}", column=at, may_be_missing=False) for at in range(numbers)),
    )
    predictor = CellPredictor(layout, seed=0).double()
    for parameter in predictor.parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    x = torch.randn(20, numbers, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

    errors = predictor(x, torch.zeros(20, 0, dtype=torch.int64))

    for own in range(numbers):
        others = x.clone()
        others[:, own] = 0
        units = (others @ predictor.hidden.T + predictor.hidden_bias).clamp(min=0)
        predicted = others @ predictor.linear[own] + predictor.bias[own] + units @ predictor.output[own]
        torch.testing.assert_close(errors[:, own], (x[:, own] - predicted).abs())


def test_the_codes_of_a_category_have_a_distribution_given_the_other_cells() -> None:
    layout = mixed_layout()
    predictor = CellPredictor(layout, seed=0).double()
    for parameter in predictor.parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    dense = torch.randn(1, 3, dtype=torch.float64)
    size = layout.categories[1].size
    codes = torch.tensor([[5, code] for code in range(size)])

    with torch.no_grad():
        shares = torch.exp(-predictor(dense.expand(size, -1), codes)[:, 4])

    assert float(shares.sum()) == pytest.approx(1.0)


def test_values_that_break_a_relation_score_far_above_all_other_rows(fitted: tuple) -> None:  # type: ignore[type-arg]
    rows, broken = _rows(400, 2), _rows(400, 2)
    broken["num"][:, 2] = -broken["num"][:, 2]
    broken["num"] = broken["num"][np.abs(rows["num"][:, 2]) > 0.5]
    broken["cat"] = broken["cat"][np.abs(rows["num"][:, 2]) > 0.5]

    usual, found = _cells(fitted, rows), _cells(fitted, broken)

    assert float((found.score[:, 0] > usual.score[:, 0].max()).float().mean()) > 0.95
    assert set(found.column[:, :3].flatten().tolist()) <= {0, 1, 2, 3, 4}
    assert (found.column[:, 0] < 3).all()


def test_a_broken_rule_between_categories_and_a_new_code_score_more_than_usual(fitted: tuple) -> None:  # type: ignore[type-arg]
    rows = _rows(200, 3)
    broken, new = ({name: array.copy() for name, array in rows.items()} for _ in range(2))
    broken["cat"][:, 1] = 2 * FIRST_VALUE + 1 - broken["cat"][:, 1]
    new["cat"][:, 0] = UNSEEN

    usual, found, unseen = (_cells(fitted, each) for each in (rows, broken, new))

    assert float(found.score[:, 0].min()) > float(usual.score[:, 0].median())
    assert float(unseen.score[:, 0].min()) > float(usual.score[:, 0].max())
    assert (unseen.column[:, 0] == 3).all()
    assert (found.column[:, 0] >= 3).float().mean() > 0.5


def test_a_missing_number_has_no_error(fitted: tuple) -> None:  # type: ignore[type-arg]
    probe, scores, _ = fitted
    rows = _rows(50, 4)
    rows["num"][:, 1] = np.nan
    row = probe(torch.from_numpy(rows["num"]), torch.from_numpy(rows["cat"])).row

    _, observed = scores.errors(CellRows.of(row))

    assert observed[:, 1].sum() == 0 and observed[:, [0, 2, 3, 4]].all()


def test_equal_seeds_give_equal_predictors_and_leave_the_global_generator_alone() -> None:
    rows = _rows(300, 5)
    cells = CellRows(torch.from_numpy(rows["num"]), torch.ones(300, 3), torch.from_numpy(rows["cat"]).long())
    before = torch.get_rng_state()

    first, second = (fit_predictor(LAYOUT, cells, cells, seed=3) for _ in range(2))

    assert all(torch.equal(one, other) for one, other in zip(first.parameters(), second.parameters(), strict=True))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("rows", [640, 700])
def test_a_cell_that_others_determine_is_predicted_as_closely_with_any_number_of_rows(rows: int) -> None:
    """The loss of the other cells is a thousand times greater, and least before the learning rate has fallen."""
    train, dev, new = (
        CellRows(torch.from_numpy(part["num"]), torch.ones(len(part["num"]), 3), torch.from_numpy(part["cat"]).long())
        for part in (_rows(rows, 5), _rows(300, 6), _rows(300, 7))
    )

    errors = [
        float(fit_predictor(LAYOUT, train, dev, seed=seed)(new.dense, new.codes)[:, 2].median()) for seed in (0, 1)
    ]

    assert max(errors) < 5e-4


def test_categories_take_part_while_their_codes_are_few() -> None:
    categories = [
        Category(name=f"k{at}", column=at, size=size) for at, size in enumerate((5_000, 60, 10, 60, 60, 60, 60, 60))
    ]
    layout = Layout(columns=tuple(each.name for each in categories), categories=tuple(categories))

    assert predicted_categories(layout) == (1, 2, 3, 4, 5, 6)


def test_a_table_of_categories_alone_has_ruled_out_cells() -> None:
    categories = tuple(Category(name=name, column=at, size=7) for at, name in enumerate("ab"))
    layout = Layout(columns=("a", "b"), categories=categories)
    probe = ModelProbe(families.build(layout, Model(family="pca"), seed=0)).eval()
    codes = {name: {"cat": _rows(rows, seed)["cat"]} for name, rows, seed in (("train", 400, 0), ("dev", 200, 1))}
    attribution = fit_attribution(probe, codes["train"], codes["dev"], most=400, seed=0)
    scores = fit_cell_scores(probe, attribution, codes["train"], codes["dev"], most=400, seed=0, alpha=0.01)

    with torch.no_grad():
        outputs = probe(torch.tensor([[UNSEEN, FIRST_VALUE], [FIRST_VALUE, FIRST_VALUE]]))
        ruled_out = scores.ruled_out(CellRows.of(outputs.row))

    assert ruled_out.tolist() == [[10.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("name", ["text", "items"])
def test_a_text_is_one_cell_that_scores_its_loss_and_its_tokens_predict_nothing(name: str) -> None:
    layout = LAYOUTS[name]
    (text,) = layout.texts
    train, dev = any_rows(layout, 300), any_rows(layout, 100, seed=1)
    model = families.build(layout, Model(family="ae"), seed=0)
    scorer = fit_scorer(model, train, dev, head="mean_loss", reasons=1, has_cells=True)
    scores = scorer.cells
    assert scores is not None
    places = range(text.first, text.first + text.length)
    assert not set(places) & set(predicted_categories(layout))

    with torch.no_grad():
        outputs = scorer.probe(*(torch.from_numpy(train[port.name]) for port in layout.ports))
        attributions = scorer.attribution(outputs)
    attributions[:, text.column] = 100 + torch.arange(300.0)
    cells = scores(CellRows.of(outputs.row), attributions, torch.zeros_like(attributions))

    expected = attributions[:, text.column] * scores.per_attribution[text.column]
    torch.testing.assert_close(cells.score[:, 0], expected)
    assert (cells.column[:, 0] == text.column).all()


def test_the_rounding_of_a_text_that_is_equal_in_all_rows_is_small_against_its_unit() -> None:
    layout = LAYOUTS["text"]
    (text,) = layout.texts
    codes = torch.from_numpy(any_rows(layout, 50)["cat"]).long()
    rows = CellRows(torch.zeros(50, 1), torch.ones(50, 1), codes)
    scores = CellScores(layout, fit_predictor(layout, rows, rows, seed=0))
    rounding = torch.full((50, len(layout.columns)), 1e-7)

    scores.learn_units(torch.ones(50, len(scores.per_error)), rounding, alpha=0.01)

    assert float(scores.per_attribution[text.column]) == pytest.approx(10.0)


@pytest.mark.parametrize(("alpha", "share"), [(1e-4, 0.002), (0.01, 0.002), (0.02, 0.004), (0.05, 0.01), (0.2, 0.01)])
def test_the_unit_of_a_cell_is_a_quantile_near_those_that_alpha_flags(alpha: float, share: float) -> None:
    rows = CellRows(torch.zeros(50, 3), torch.ones(50, 3), torch.full((50, 2), FIRST_VALUE))
    scores = CellScores(LAYOUT, fit_predictor(LAYOUT, rows, rows, seed=0))
    generator = np.random.default_rng(0)
    errors = 100 * generator.exponential(size=(2_000, len(scores.per_error)))
    attributions = 10 * generator.exponential(size=(2_000, len(LAYOUT.columns)))

    scores.learn_units(torch.from_numpy(errors), torch.from_numpy(attributions), alpha=alpha)

    np.testing.assert_allclose(scores.per_error, 1 / np.quantile(errors, 1 - share, axis=0), rtol=1e-5)
    np.testing.assert_allclose(scores.per_attribution, 1 / np.quantile(attributions, 1 - share, axis=0), rtol=1e-5)


def test_unknown_tokens_are_not_ruled_out() -> None:
    layout = LAYOUTS["text"]
    rows = any_rows(layout, 300)
    rows["cat"][rows["cat"] < FIRST_VALUE] = FIRST_VALUE
    known = CellRows(torch.zeros(300, 1), torch.ones(300, 1), torch.from_numpy(rows["cat"]).long())
    impossible = ImpossibleCells(layout)

    impossible.learn(layout, known, known)

    unknown = known.codes.clone()
    unknown[:, layout.texts[0].first] = UNSEEN
    assert not impossible.categories(unknown).any()
    unknown[:, -1] = UNSEEN  # the category next to the text
    assert (impossible.categories(unknown)[:, 2] > 0).all()


@torch.no_grad()
def test_a_table_of_texts_alone_has_cells_scored_by_their_loss() -> None:
    layout = LAYOUTS["text"].model_copy(
        update={
            "columns": ("line",),
            "numbers": (),
            "categories": tuple(
                category.model_copy(update={"column": 0}) for category in LAYOUTS["text"].categories[:6]
            ),
            "texts": (LAYOUTS["text"].texts[0].model_copy(update={"column": 0}),),
        }
    )
    train, dev = any_rows(layout, 60, seed=0), any_rows(layout, 20, seed=1)
    model = families.build(layout, Model(family="ae"), seed=0)

    scorer = fit_scorer(model, train, dev, head="reconstruction", reasons=1, has_cells=True, seed=0)

    outputs = scorer(*(torch.from_numpy(dev[port.name]) for port in layout.ports))
    assert scorer.cells is not None
    assert all(torch.isfinite(output.float()).all() for output in outputs)
