import numpy as np
import pytest
import torch

from aepipe.config.job import Model as Section
from aepipe.layout import Layout
from aepipe.models.backbones.recurrent import BACKBONE, Options
from aepipe.models.families import build, plan
from aepipe.models.layers.likelihood import LikelihoodOptions, make_likelihood
from aepipe.models.layers.preprocessing import Row
from aepipe.models.layers.sequence import Reading, in_steps, laid_out, last_of, mean_of
from tests.support.layouts import COLOUR, GREY, SERIES, random_rows, with_conditions


def rows_of(layout: Layout, rows: int = 12) -> Row:
    model = build(layout, Section(family="pca"), 0)
    row: Row = model.preprocessing({name: torch.from_numpy(array) for name, array in random_rows(layout, rows).items()})
    return row


@pytest.mark.parametrize("layout", [SERIES, GREY, COLOUR], ids=["series", "grey", "colour"])
def test_values_laid_out_are_those_of_their_steps(layout: Layout) -> None:
    likelihood = make_likelihood(layout, LikelihoodOptions())
    row = rows_of(layout)
    flat = likelihood.targets(row)[:, : row.dense[0].numel()]

    steps = in_steps(layout, flat)

    assert torch.equal(laid_out(layout, steps), flat)
    for at in range(len(steps)):
        wanted = row.dense[:, at] if layout.series is not None else row.dense[:, :, at].flatten(1)
        assert torch.equal(steps[at], wanted)


def test_an_image_is_read_from_its_top_row_to_its_last() -> None:
    row = rows_of(COLOUR)

    steps, valid = Reading(COLOUR)(row)

    assert steps.shape == (7, 12, 3 * 13)
    torch.testing.assert_close(steps[2], 2 * row.dense[:, :, 2].flatten(1) - 1)
    assert valid.all()


def test_gaps_are_flagged_within_a_window_alone() -> None:
    row = rows_of(SERIES, 60)

    steps, valid = Reading(SERIES)(row)

    lengths = row.codes[:, 0] + 1
    assert torch.equal(valid.squeeze(2).sum(0), lengths.float())
    gaps = steps[:, :, 2].T == 1
    wanted = (row.observed[:, :, 1] == 0) & (torch.arange(9) < lengths[:, None])
    assert wanted.any()
    assert torch.equal(gaps, wanted)


def test_last_and_mean_states_are_those_of_valid_steps() -> None:
    states = torch.randn(9, 60, 4)
    row = rows_of(SERIES, 60)
    valid = Reading(SERIES)(row).valid

    last, mean = last_of(states, valid), mean_of(states, valid)

    for at, length in enumerate((row.codes[:, 0] + 1).tolist()):
        torch.testing.assert_close(last[at], states[length - 1, at])
        torch.testing.assert_close(mean[at], states[:length, at].mean(0))


def test_a_window_is_encoded_independently_of_the_length_of_others() -> None:
    arrays = random_rows(SERIES, 1) | {"length": np.array([3], np.int32)}
    torch.manual_seed(0)
    encoder = BACKBONE.encoder(SERIES, Options(), 4)
    assert SERIES.series is not None
    short = SERIES.model_copy(update={"series": SERIES.series.model_copy(update={"steps": 3, "longest": 3})})
    torch.manual_seed(0)
    of_short = BACKBONE.encoder(short, Options(), 4)
    cut = {"steps": arrays["steps"][:, :3], "length": arrays["length"]}

    padded = encoder(
        build(SERIES, Section(family="pca"), 0).preprocessing({k: torch.from_numpy(v) for k, v in arrays.items()})
    )
    alone = of_short(
        build(short, Section(family="pca"), 0).preprocessing({k: torch.from_numpy(v) for k, v in cut.items()})
    )

    torch.testing.assert_close(padded, alone)


def test_conditions_reach_the_encoder_of_a_series() -> None:
    layout = with_conditions(SERIES)
    row = rows_of(SERIES)
    encoder = BACKBONE.encoder(layout, Options(), 4)

    one, other = (encoder(row._replace(given=torch.full((12, layout.given), value))) for value in (0.0, 1.0))

    assert not torch.allclose(one, other)


def test_a_series_gets_this_trunk_where_the_job_names_none() -> None:
    assert plan(SERIES, Section(family="ae")).backbone.name == "recurrent"
    assert plan(GREY, Section(family="ae")).backbone.name == "conv"
