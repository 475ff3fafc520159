"""Input noise: its amount and place; everything else is unchanged."""

from typing import get_args

import pytest
import torch

from aepipe.layout import MISSING, Layout
from aepipe.models.layers.corruption import PEPPER, SALT, Corruption, CorruptionOptions, corruption_faults
from aepipe.models.layers.preprocessing import Row
from tests.support.layouts import CATEGORIES, GREY, MIXED, NUMBERS

KINDS = [kind for kind in get_args(CorruptionOptions.model_fields["corruption"].annotation) if kind != "none"]
ROWS = 4_000

every_kind = pytest.mark.parametrize("kind", KINDS)


def corruption(kind: str, amount: float | None = None) -> Corruption:
    return Corruption(CorruptionOptions.model_validate({"corruption": kind, "corruption_amount": amount}))


def noisy(row: Row, kind: str, amount: float | None = None, seed: int = 0) -> Row:
    answer: Row = corruption(kind, amount)(row, torch.Generator().manual_seed(seed))
    return answer


def table(rows: int = ROWS) -> Row:
    """Build three numbers of distinct magnitudes, a fifth of the first missing; two categories; a condition."""
    generator = torch.Generator().manual_seed(5)
    dense = torch.rand(rows, 3, generator=generator) * 0.1 + torch.tensor([1.0, 2.0, 3.0])
    observed = torch.ones_like(dense)
    observed[::5, 0] = 0
    codes = torch.randint(3, 6, (rows, 2), generator=generator) + torch.tensor([0, 10])
    codes[::7, 1] = MISSING
    return Row(dense * observed, observed, codes, torch.rand(rows, 2, generator=generator))


def image(rows: int = 200) -> Row:
    pixels = torch.rand(rows, 2, 9, 7, generator=torch.Generator().manual_seed(5)) * 0.02 + 0.5
    return Row(pixels, torch.ones_like(pixels), torch.zeros(rows, 0, dtype=torch.int64), torch.zeros(rows, 0))


def series(rows: int = 300) -> Row:
    """Build two channels of eleven steps; the last steps of half of the rows are padding."""
    dense = torch.rand(rows, 11, 2, generator=torch.Generator().manual_seed(5)) * 0.1 + torch.tensor([1.0, 2.0])
    observed = torch.ones_like(dense)
    observed[: rows // 2, 8:] = 0
    return Row(dense * observed, observed, torch.zeros(rows, 0, dtype=torch.int64), torch.zeros(rows, 0))


ROWS_OF = {"table": table, "image": image, "series": series}
every_row = pytest.mark.parametrize("row", [make() for make in ROWS_OF.values()], ids=list(ROWS_OF))


def share(changed: torch.Tensor) -> float:
    return float(changed.double().mean())


@every_kind
@every_row
def test_shapes_and_types_are_kept_and_the_clean_row_is_unchanged(row: Row, kind: str) -> None:
    before = Row(*(part.clone() for part in row))

    answer = noisy(row, kind)

    for one, other, kept in zip(answer, row, before, strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        assert torch.equal(other, kept)
    assert not torch.equal(answer.dense, row.dense)
    assert torch.equal(answer.given, row.given)


@every_kind
@every_row
def test_missing_values_stay_missing(row: Row, kind: str) -> None:
    answer = noisy(row, kind, 0.9)

    missing = row.observed == 0
    assert not answer.observed[missing].any()
    assert not answer.dense[missing].any()
    assert not answer.codes[row.codes == MISSING].any()


@every_kind
@every_row
def test_the_generator_is_the_only_source_of_noise(row: Row, kind: str) -> None:
    torch.manual_seed(1)
    first = noisy(row, kind, seed=3)
    torch.manual_seed(2)

    again, other = noisy(row, kind, seed=3), noisy(row, kind, seed=4)

    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not torch.equal(first.dense, other.dense)


@every_kind
def test_one_row_or_none_is_corrupted_too(kind: str) -> None:
    for rows in (0, 1):
        row = table(rows)

        assert [part.shape for part in noisy(row, kind)] == [part.shape for part in row]


def test_no_corruption_returns_the_row_itself() -> None:
    row = table()

    assert noisy(row, "none") is row


@pytest.mark.parametrize("row", [table(), series()], ids=["table", "series"])
def test_gaussian_noise_has_the_requested_moments(row: Row) -> None:
    seen = row.observed > 0

    added = (noisy(row, "gaussian", 0.4).dense - row.dense)[seen].double()

    assert float(added.mean()) == pytest.approx(0, abs=0.02)
    assert float(added.std()) == pytest.approx(0.4, rel=0.03)
    assert float((added**4).mean()) == pytest.approx(3 * 0.4**4, rel=0.1)


def test_gaussian_noise_keeps_pixels_in_range_and_codes_unchanged() -> None:
    pixels, cells = image(), table()

    assert float((noisy(pixels, "gaussian", 0.1).dense - pixels.dense).std()) == pytest.approx(0.1, rel=0.03)
    strong = noisy(pixels, "gaussian", 1.0).dense
    assert float(strong.min()) == 0
    assert float(strong.max()) == 1
    assert torch.equal(noisy(cells, "gaussian").codes, cells.codes)


def test_masked_cells_are_zero_unobserved_and_of_the_requested_share() -> None:
    row = table()

    answer = noisy(row, "masking", 0.3)

    gone = (answer.observed == 0) & (row.observed > 0)
    assert share(gone[row.observed > 0]) == pytest.approx(0.3, abs=0.02)
    assert not answer.dense[gone].any()
    assert torch.equal(answer.dense[~gone], row.dense[~gone])
    known = row.codes != MISSING
    assert share(answer.codes[known] == MISSING) == pytest.approx(0.3, abs=0.02)
    assert torch.equal(answer.codes[answer.codes != MISSING], row.codes[answer.codes != MISSING])


def test_masked_pixels_are_black() -> None:
    row = image()

    answer = noisy(row, "masking", 0.25).dense

    assert share(answer == 0) == pytest.approx(0.25, abs=0.01)
    assert torch.equal(answer[answer > 0], row.dense[answer > 0])


def test_swapped_cells_come_from_their_own_column_and_from_another_row() -> None:
    row = table()

    answer = noisy(row, "swap", 0.4)

    for column in range(3):
        assert torch.isin(answer.dense[:, column], row.dense[:, column]).all()
    for column in range(2):
        assert torch.isin(answer.codes[:, column], row.codes[:, column]).all()
    # all numbers except missing ones are distinct: a number differs if and only if it was swapped
    assert share(answer.dense[:, 1:] != row.dense[:, 1:]) == pytest.approx(0.4, abs=0.02)
    assert torch.equal(answer.observed == 0, answer.dense == 0)


def test_swapped_codes_differ_as_often_as_expected() -> None:
    row = table()
    first = row.codes[:, 0]
    alike = sum(share(first == code) ** 2 for code in (3, 4, 5))

    changed = noisy(row, "swap", 0.4).codes[:, 0] != first

    assert share(changed) == pytest.approx(0.4 * (1 - alike), abs=0.02)


def test_a_swapped_cell_of_a_series_keeps_its_step_and_column() -> None:
    row = series()
    marked = row._replace(dense=row.dense.round() + 10 * torch.arange(11.0)[None, :, None])

    answer = noisy(marked._replace(observed=torch.ones_like(row.observed)), "swap", 0.9)

    assert torch.equal(answer.dense[150:] // 10, marked.dense[150:] // 10)


@pytest.mark.parametrize("row,low,high", [(table(), PEPPER, SALT), (image(), 0.0, 1.0)], ids=["table", "image"])
def test_salt_and_pepper_are_halves_of_the_requested_share(row: Row, low: float, high: float) -> None:
    seen = row.observed > 0

    answer = noisy(row, "salt_and_pepper", 0.3)

    assert share(answer.dense[seen] == low) == pytest.approx(0.15, abs=0.01)
    assert share(answer.dense[seen] == high) == pytest.approx(0.15, abs=0.01)
    kept = (answer.dense != low) & (answer.dense != high)
    assert torch.equal(answer.dense[kept], row.dense[kept])
    assert torch.equal(answer.codes, row.codes)


@every_kind
def test_the_default_amount_depends_on_the_kind_of_noise(kind: str) -> None:
    for row in (table(), image()):
        changed = share(noisy(row, kind).dense[row.observed > 0] != row.dense[row.observed > 0])

        assert 0.05 < changed < 0.4 or kind == "gaussian"


@pytest.mark.parametrize("layout", [NUMBERS, MIXED, GREY], ids=["numbers", "mixed", "grey"])
@every_kind
def test_corruption_that_fits_the_layout_is_accepted(layout: Layout, kind: str) -> None:
    assert not list(corruption_faults(layout, CorruptionOptions.model_validate({"corruption": kind})))


@pytest.mark.parametrize("kind", ["gaussian", "salt_and_pepper"])
def test_noise_for_numbers_is_refused_on_categories(kind: str) -> None:
    options = CorruptionOptions.model_validate({"corruption": kind})

    assert list(corruption_faults(CATEGORIES, options)) == [
        f"corruption = '{kind}' changes numbers, but every column is a category: use masking or swap"
    ]


@pytest.mark.parametrize("kind", ["masking", "swap"])
def test_categories_can_be_masked_and_swapped(kind: str) -> None:
    assert not list(corruption_faults(CATEGORIES, CorruptionOptions.model_validate({"corruption": kind})))


def test_a_zero_amount_is_refused() -> None:
    faults = list(corruption_faults(NUMBERS, CorruptionOptions(corruption_amount=0.5)))

    assert faults == ["corruption_amount needs a corruption: set gaussian, masking, swap or salt_and_pepper"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@every_kind
@every_row
def test_noise_is_made_on_the_device_of_the_rows(row: Row, kind: str) -> None:
    there = Row(*(part.cuda() for part in row))
    generator = torch.Generator("cuda").manual_seed(0)
    torch.cuda.set_sync_debug_mode("error")

    try:
        answer = corruption(kind)(there, generator)
    finally:
        torch.cuda.set_sync_debug_mode("default")

    assert answer.dense.is_cuda
    assert not torch.equal(answer.dense.cpu(), row.dense)
