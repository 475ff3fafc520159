import numpy as np
import torch

from aepipe.heads.marginals import marginals
from tests.heads.models import evidence


def test_a_row_costs_what_numpy_s_histograms_say() -> None:
    known, rows = evidence(500), evidence(50, seed=1)

    found = marginals(known)(rows)

    expected = np.zeros(50)
    for column, values in zip(known.row.numpy().T, rows.row.numpy().T, strict=True):
        counts, edges = np.histogram(column, 20)
        inside = (values >= column.min()) & (values <= column.max())
        bins = np.clip(np.digitize(values, edges) - 1, 0, 19)
        shares = np.where(inside, counts[bins] + 0.5, 0.5) / (500 + 0.5 * 22)
        expected -= np.log(shares)
    close = np.isclose(found.numpy(), expected, rtol=1e-5)
    assert close.mean() >= 0.98  # a value on an edge may round to either side


def test_a_column_of_one_value_tells_it_from_every_other() -> None:
    known = evidence(100)
    known.row[:, 0] = 3.0
    rows = evidence(3, seed=1)
    rows.row[:, :] = known.row[:3]
    rows.row[1, 0] = 3.1

    found = marginals(known)(rows)

    usual = marginals(known)(known)[:3]
    assert found[0] == usual[0]
    assert found[1] > usual[1] + 4
    assert torch.equal(found[2], usual[2])
