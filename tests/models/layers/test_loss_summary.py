from math import ceil

import numpy as np
import pytest
import torch

from aepipe.heads.base import HeadStats
from aepipe.heads.scores import find
from aepipe.layout import Layout, Number, Series
from aepipe.models.layers.loss_summary import LossSummary
from aepipe.models.layers.preprocessing import Row
from tests.support.head_models import image_layout, mixed_layout, scoring_inputs


def _row(observed: torch.Tensor) -> Row:
    nothing = torch.zeros(len(observed), 0)
    return Row(observed, observed, nothing.long(), nothing)


def _by_numpy(losses: np.ndarray) -> list[float]:
    """Compute the summary of one row's losses with numpy."""
    falling = np.sort(losses)[::-1]
    return [losses.mean(), falling[int(0.005 * len(losses))], falling[: max(1, ceil(0.01 * len(losses)))].mean()]


@pytest.mark.parametrize("layout", [mixed_layout(), image_layout(), image_layout(28, 28), image_layout(40, 40, 3)])
def test_a_summary_holds_mean_quantile_and_mean_of_the_greatest(layout: Layout) -> None:
    losses = torch.randn(9, layout.features, generator=torch.Generator().manual_seed(0))

    found = LossSummary(layout)(losses, _row(torch.ones(9, layout.features)))

    wanted = [_by_numpy(each) for each in losses.double().numpy()]
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5)


def test_missing_steps_of_a_short_window_do_not_count() -> None:
    channels = tuple(Number(name=f"c{index}", column=0) for index in range(2))
    layout = Layout(columns=("w",), series=Series(steps=300, shortest=1, longest=300, numbers=channels))
    losses = torch.randn(3, layout.features, generator=torch.Generator().manual_seed(1))
    lengths = (300, 120, 1)
    observed = torch.stack([(torch.arange(300) < length).float().repeat_interleave(2) for length in lengths])

    found = LossSummary(layout)(losses, _row(observed))

    wanted = [_by_numpy(each[: 2 * length]) for each, length in zip(losses.double().numpy(), lengths, strict=True)]
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5)


def test_a_few_unusual_pixels_outweigh_the_same_loss_everywhere() -> None:
    spread = torch.full((1, 784), 0.1)
    blot = torch.zeros(1, 784)
    blot[:, :8] = 9.8

    summary = LossSummary(image_layout(28, 28))(torch.cat([spread, blot]), _row(torch.ones(2, 784)))

    mean, quantile, top = summary.T
    torch.testing.assert_close(mean[0], mean[1])
    assert quantile[1] > 50 * quantile[0]
    assert top[1] > 50 * top[0]


@pytest.mark.parametrize(("head", "place"), [("mean_loss", 0), ("quantile_loss", 1), ("top_losses", 2)])
def test_each_number_of_the_summary_has_a_head(head: str, place: int) -> None:
    rows = scoring_inputs(20)

    torch.testing.assert_close(find(head).fit(HeadStats(rows, rows))(rows), rows.summary[:, place])
