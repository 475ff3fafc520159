"""Attribution of columns against the definition: the largest product with any fault's trace."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from aepipe.heads.attribution import Attribution

ROWS, WIDTHS = 40, (3, 5, 2)


class _SplitOutputs(nn.Module):
    """Split of model outputs into three kinds, in place of the real ones."""

    def forward(self, model_outputs: Tensor) -> list[Tensor]:
        return list(torch.split(model_outputs, list(WIDTHS), 1))


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param((1, 1, 1, 1), id="numbers to either side"),
        pytest.param((2, 3, 2, 4), id="every column has several faults"),
        pytest.param((1, 4, 1, 1, 2, 1), id="columns of both sorts, mixed"),
        pytest.param((3,), id="one column"),
    ],
)
def test_the_attribution_of_a_column_is_its_greatest_fault(faults: tuple[int, ...]) -> None:
    generator = np.random.default_rng(len(faults))
    traces = generator.standard_normal((sum(faults), sum(WIDTHS)))
    center = generator.standard_normal(sum(WIDTHS))
    outputs = generator.standard_normal((ROWS, sum(WIDTHS))).astype(np.float32)
    ends = np.cumsum(faults).tolist()
    faults_by_column = [range(end - count, end) for end, count in zip(ends, faults, strict=True)]

    attribution = Attribution(_SplitOutputs(), center=center, traces=traces, faults_by_column=faults_by_column)  # type: ignore[arg-type]

    along = (outputs - center) @ traces.T
    expected = [
        np.abs(along[:, own[0]]) if len(own) == 1 else along[:, list(own)].max(axis=1) for own in faults_by_column
    ]
    found = attribution(torch.from_numpy(outputs))
    np.testing.assert_allclose(found.numpy(), np.stack(expected, axis=1), rtol=1e-5, atol=1e-5)
