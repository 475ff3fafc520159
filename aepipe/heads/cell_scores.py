"""Scores of the most unusual cells of a row of a table."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from aepipe.heads.cell_predictor import CellPredictor, CellRows, fit_predictor
from aepipe.heads.error_spread import MOST_NUMBERS, ErrorSpread
from aepipe.heads.impossible_cells import ImpossibleCells
from aepipe.heads.model_outputs import ROWS_A_CALL, ModelProbe, chosen_rows, run_model
from aepipe.layout import Layout

BEYOND = (0.002, 0.01)
"""Least and greatest share of training and dev rows whose cell of a column scores more than 1 (`share_beyond`)."""

_PER_ALPHA = 0.2


LEAST_NATS = 4.6
"""Least unit of a category, the error of a code with probability .01.

If other columns determine a category in 99 % of the rows, the exceptions would otherwise score so high that they take
all alarms: in the tables adult and cardio, 20 to 30 % fewer of the faults planted in numbers would be flagged.
"""

_LEAST_UNIT = 1e-3  # standard deviations: of a column that the others determine, whose errors are rounding
_LEAST_TEXT_UNIT = 0.1  # the same of a text that is equal in all rows: its loss is a sum, which rounds more

Arrays = Mapping[str, NDArray[np.generic]]


def share_beyond(alpha: float) -> float:
    """Return the share of rows whose cell of a column exceeds its unit: a fifth of alpha, within `BEYOND`.

    Errors of columns have tails of different weight. In units of standard deviations the heaviest tail would decide
    which cells are flagged, and in units of any quantile the tail that is heaviest beyond it: the quantile must be near
    those that alpha flags. At alpha .01 and a share of .01, a column with a spike in half a per cent of the rows takes
    all alarms: in two generated tables, 1 instead of 38 % of the broken relations would be flagged, in four others 55
    instead of 70 %. At alpha .05 a share of .002 takes alarms from common exceptions: of cancelled and diverted
    flights, 49 instead of 59 % would be flagged, with 2.2 instead of 1.3 % of the others.

    >>> share_beyond(0.01), share_beyond(0.05), share_beyond(0.0001)
    (0.002, 0.01, 0.002)
    """
    least, greatest = BEYOND
    return min(greatest, max(least, _PER_ALPHA * alpha))


CELLS = 3
"""Most cells per row: a broken relation shows in all of its columns."""


class UnusualCells(NamedTuple):
    """The most unusual cells of each row: indices of their columns and scores, (B, k) each, the highest first."""

    column: Tensor
    score: Tensor


class CellScores(nn.Module):
    """Scores of the most unusual cells of a row.

    A cell scores the error of its prediction from the other cells, that of a number relative to the spread of such
    errors in rows like it (`ErrorSpread`). A missing number, a category with very many values, or a text scores its
    attribution. Cells that training rows rule out score more (`ImpossibleCells`).
    """

    per_error: Tensor
    per_attribution: Tensor
    places: Tensor
    is_text: Tensor

    def __init__(self, layout: Layout, predictor: CellPredictor) -> None:
        """Arrange the numbers by column; all units are 1 until `learn_units`."""
        super().__init__()
        self.predictor = predictor
        owners = [number.column for number in layout.numbers]
        owners += [layout.categories[index].column for index in predictor.used_categories]
        of_column: list[list[int]] = [[] for _ in layout.columns]
        for index, column in enumerate(owners):
            of_column[column].append(index)
        self.columns, self.widest = len(layout.columns), max(map(len, of_column), default=0)
        # index len(owners) is a cell of 0
        places = [[*own, *[len(owners)] * (self.widest - len(own))] for own in of_column]
        self.register_buffer("places", torch.tensor(places, dtype=torch.int64).flatten())
        self.register_buffer("per_error", torch.ones(len(owners)))
        self.register_buffer("per_attribution", torch.ones(self.columns))
        of_texts = [text.column for text in layout.texts]
        self.register_buffer("is_text", torch.tensor([float(at in of_texts) for at in range(self.columns)]))
        self.impossible = ImpossibleCells(layout)
        self.spread = ErrorSpread(predictor.numbers) if 2 <= predictor.numbers <= MOST_NUMBERS else None

    def forward(self, rows: CellRows, attributions: Tensor, ruled_out: Tensor) -> UnusualCells:
        """Return the cells; attributions and what `ruled_out` returned: (B, columns)."""
        scores = attributions * self.per_attribution
        if self.widest:
            errors, observed = self.errors(rows)
            by_column = self._by_column(errors * observed * self.per_error)
            own = torch.maximum(by_column, scores * self.is_text)  # items also have a number of their own
            scores = torch.where(self._by_column(observed) > 0, own, scores)
        top = torch.topk(scores + ruled_out, min(CELLS, self.columns), dim=1)
        return UnusualCells(top.indices.to(torch.int32), top.values)

    def ruled_out(self, rows: CellRows) -> Tensor:
        """Return `IMPOSSIBLE_SCORE` for each cell that training rows rule out, else 0, (B, columns)."""
        dense, codes = rows.dense, rows.codes
        found = []
        if dense.shape[1]:
            cells = F.pad(self.impossible.numbers(dense), (0, len(self.per_error) - dense.shape[1]))
            found.append(self._by_column(cells))
        if codes.shape[1]:
            found.append(self.impossible.categories(codes))
        return torch.stack(found).sum(0)

    def errors(self, rows: CellRows) -> tuple[Tensor, Tensor]:
        """Return the errors of the predicted cells, (B, N + K), of numbers over their spread; 1 where observed."""
        errors: Tensor = self.predictor(rows.dense, rows.codes)
        if self.spread is not None:
            spread: Tensor = self.spread(rows.dense)
            errors = torch.cat([errors[:, : spread.shape[1]] * spread, errors[:, spread.shape[1] :]], 1)
        return errors, torch.cat([rows.observed, torch.ones_like(errors[:, rows.observed.shape[1] :])], 1)

    def learn_units(self, errors: Tensor, attributions: Tensor, *, alpha: float) -> None:
        """Set the units by typical rows: errors (B, N + K), NaN if missing, and attributions (B, columns)."""
        usual = 1 - share_beyond(alpha)
        floors = np.full(errors.shape[1], _LEAST_UNIT)
        floors[self.predictor.numbers :] = LEAST_NATS
        self.per_error.copy_(_per_usual(errors, floors, usual))
        is_text = self.is_text.cpu().numpy() > 0
        least = np.where(is_text, _LEAST_TEXT_UNIT, _LEAST_UNIT)
        self.per_attribution.copy_(_per_usual(attributions, least, usual))

    def _by_column(self, values: Tensor) -> Tensor:
        """Return the greatest value of each column, (B, columns), 0 if it has none; values: (B, N + K)."""
        padded = torch.cat([values, torch.zeros_like(values[:, :1])], 1)
        return padded.index_select(1, self.places).reshape(-1, self.columns, self.widest).amax(2)


class CellInputs(NamedTuple):
    """Inputs of `CellScores` of some rows, on the CPU: the rows, and their attributions (B, columns)."""

    rows: CellRows
    attributions: Tensor

    def at(self, chosen: Tensor) -> "CellInputs":
        """Return the rows of a mask (B,)."""
        return CellInputs(CellRows(*(part[chosen] for part in self.rows)), self.attributions[chosen])

    def batches(self) -> Iterator["CellInputs"]:
        """Yield the rows in batches of bounded size."""
        for begin in range(0, len(self.attributions), ROWS_A_CALL):
            some = slice(begin, begin + ROWS_A_CALL)
            yield CellInputs(CellRows(*(part[some] for part in self.rows)), self.attributions[some])


@torch.no_grad()
def cell_inputs(probe: ModelProbe, attribution: nn.Module, arrays: Arrays) -> CellInputs | None:
    """Run the model on rows; None without rows."""
    if not len(next(iter(arrays.values()))):
        return None
    found = [(CellRows.of(outputs.row), attribution(outputs).cpu()) for outputs in run_model(probe, arrays)]
    rows, attributions = zip(*found, strict=True)
    return CellInputs(CellRows(*map(torch.cat, zip(*rows, strict=True))), torch.cat(attributions))


@torch.no_grad()
def fit_cell_scores(
    probe: ModelProbe, attribution: nn.Module, train: Arrays, dev: Arrays, *, most: int, seed: int, alpha: float
) -> CellScores:
    """Fit the scores of cells from at most `most` rows of each split; dev rows may be empty. alpha: `share_beyond`."""
    learned, fresh = (cell_inputs(probe, attribution, chosen_rows(rows, most, seed)) for rows in (train, dev))
    assert learned is not None
    return fit_on_inputs(probe.model.layout, learned, fresh, seed=seed, alpha=alpha)


@torch.no_grad()
def fit_on_inputs(layout: Layout, train: CellInputs, dev: CellInputs | None, *, seed: int, alpha: float) -> CellScores:
    """Fit the scores of cells; without dev rows, training rows take their place."""
    fresh = train if dev is None else dev
    scores = CellScores(layout, fit_predictor(layout, train.rows, fresh.rows, seed=seed))
    known = [train] if dev is None else [train, dev]
    if scores.spread is not None:
        dense = torch.cat([each.rows.dense for each in known])
        scores.spread.learn(dense, _errors(scores, known)[:, : dense.shape[1]])
    attributions = torch.cat([each.attributions for each in known])
    scores.learn_units(_errors(scores, known), attributions, alpha=alpha)
    scores.impossible.learn(layout, train.rows, fresh.rows)
    return scores


def _errors(scores: CellScores, known: Iterable[CellInputs]) -> Tensor:
    """Return the errors of cells of rows, NaN if missing, (B, N + K)."""
    found = [scores.errors(batch.rows) for each in known for batch in each.batches()]
    return torch.cat([errors.masked_fill(observed == 0, torch.nan) for errors, observed in found])


def _per_usual(values: Tensor, least: NDArray[np.float64], share: float) -> Tensor:
    """Return one over this quantile of each column of `values` (B, n), or over `least` (n,) if that is more."""
    usual = np.zeros(len(least))
    known = ~values.isnan().all(0).numpy()
    if known.any():
        usual[known] = np.nanquantile(values[:, known].double().numpy(), share, axis=0)
    return torch.from_numpy(1 / np.maximum(usual, least))
