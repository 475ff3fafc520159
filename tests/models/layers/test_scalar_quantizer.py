"""Scalar quantisation against a search over all grid points, and residual codebooks against one codebook."""

import itertools

import pytest
import torch

from aepipe.config.job import Model as Section
from aepipe.config.job import Train
from aepipe.errors import OptionInvalid
from aepipe.export.export import export_parts
from aepipe.layout import Layout, Number
from aepipe.models.base import Batch
from aepipe.models.families import build
from aepipe.models.families.vq_vae import VectorQuantised
from aepipe.models.layers.residual_quantizer import ResidualQuantizer
from aepipe.models.layers.scalar_quantizer import ScalarQuantizer
from aepipe.models.layers.vector_quantizer import VectorQuantizer
from aepipe.training.loop import fit, measure
from tests.support.family_models import context
from tests.support.layouts import NUMBERS, random_rows

LEVELS = (5, 4, 3)


def vectors(rows: int, width: int) -> torch.Tensor:
    return 1.5 * torch.randn(rows, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_a_code_is_the_nearest_point_of_the_grid() -> None:
    quantizer = ScalarQuantizer(LEVELS, decay=0.9).double()
    values = [[(place - size // 2) / (size // 2) for place in range(size)] for size in LEVELS]
    grid = torch.tensor(list(itertools.product(*values)), dtype=torch.float64)
    squashed = quantizer.bound(vectors(500, 3))

    found = quantizer.look_up(quantizer(squashed))

    scale = torch.tensor([size // 2 for size in LEVELS], dtype=torch.float64)
    nearest = grid[((squashed[:, None] - grid) * scale).square().sum(2).argmin(1)]
    torch.testing.assert_close(found, nearest)


def test_every_code_has_its_own_vector_and_comes_back() -> None:
    quantizer = ScalarQuantizer(LEVELS, decay=0.9).double()
    codes = torch.arange(60)

    of_codes = quantizer.look_up(codes)

    assert len(of_codes.unique(dim=0)) == 60
    assert torch.equal(quantizer(of_codes), codes)
    assert of_codes.abs().max() == 1


def test_every_level_can_be_reached() -> None:
    quantizer = ScalarQuantizer(LEVELS, decay=0.9).double()
    far = torch.linspace(-9, 9, 2_001, dtype=torch.float64)

    reached = quantizer.look_up(quantizer(quantizer.bound(far[:, None].expand(-1, 3))))

    assert [len(reached[:, j].unique()) for j in range(3)] == list(LEVELS)


def test_the_use_of_codes_is_averaged() -> None:
    quantizer = ScalarQuantizer((2, 2), decay=0.75)

    quantizer.follow(torch.zeros(0), torch.tensor([0, 0, 0, 1]), torch.Generator())

    torch.testing.assert_close(quantizer.uses, 0.75 + 0.25 * torch.tensor([3.0, 1.0, 0.0, 0.0]))


def test_gradients_of_a_scalar_code_pass_straight_through_to_the_squashed_vector() -> None:
    section = Section.model_validate({"family": "vq_vae", "quantizer": "fsq", "codes": 2})
    model = build(NUMBERS, section, 0).double()
    assert isinstance(model, VectorQuantised)
    row = model.preprocessing({name: torch.from_numpy(array) for name, array in random_rows(NUMBERS, 16).items()})
    seen: list[torch.Tensor] = []

    def keep(_module: object, _inputs: object, answer: torch.Tensor) -> None:
        answer.retain_grad()
        seen.append(answer)

    model.encoder.register_forward_hook(keep)
    model.objectives()[0].loss(Batch(row, row), context()).total.backward()

    raw = seen[0].detach().requires_grad_()
    squashed = model.codebook.bound(raw)
    rounded = model.codebook.look_up(model.codebook(squashed)).detach().requires_grad_()
    model.likelihood.nll(model.decoder(rounded), row).sum(1).mean().backward()
    squashed.backward(rounded.grad)
    torch.testing.assert_close(seen[0].grad, raw.grad)


def test_each_residual_codebook_quantises_the_rest_of_the_ones_before_it() -> None:
    quantizer = ResidualQuantizer(3, 8, 4, decay=0.9, reset_below=0.0).double()
    x = vectors(300, 4).reshape(100, 3, 4)
    quantizer.start(x)

    codes = quantizer(x)

    rest = x
    for level, book in enumerate(quantizer.books):
        expected = (rest[:, :, None] - book.vectors).square().sum(3).argmin(2)
        assert torch.equal(codes.reshape(100, 3, 3)[:, :, level], expected)
        rest = rest - book.vectors[expected]
    torch.testing.assert_close(quantizer.look_up(codes), x - rest)


def test_residual_codebooks_leave_less_over_than_one_codebook() -> None:
    x = vectors(900, 4).reshape(300, 3, 4)
    errors = []
    for depth in (1, 2, 4):
        quantizer = ResidualQuantizer(depth, 8, 4, decay=0.9, reset_below=0.0).double()
        quantizer.start(x)
        errors.append((x - quantizer.look_up(quantizer(x))).square().mean().item())

    assert errors[0] > 1.5 * errors[1] > 2 * errors[2]


def test_one_residual_codebook_is_a_codebook() -> None:
    residual, plain = (
        ResidualQuantizer(1, 8, 4, decay=0.9, reset_below=0.1),
        VectorQuantizer(8, 4, decay=0.9, reset_below=0.1),
    )
    x = vectors(300, 4).float().reshape(100, 3, 4)
    for each in (residual, plain):
        each.start(x)
        each.follow(x, each(x), torch.Generator().manual_seed(0))

    assert torch.equal(residual(x), plain(x))
    torch.testing.assert_close(residual.uses, plain.uses)


@pytest.mark.slow
def test_scalar_codes_stay_in_use() -> None:
    layout = Layout(columns=tuple("abcd"), numbers=tuple(Number(name=c, column=j) for j, c in enumerate("abcd")))
    rows = vectors(2_500, 4).float().numpy()
    section = Section.model_validate({"family": "vq_vae", "quantizer": "fsq", "levels": [4, 4], "codes": 1})
    model = build(layout, section, 0)

    fit(model, {"num": rows[:2_000]}, {"num": rows[2_000:]}, Train(epochs=10))

    metrics = measure(model, {"num": rows[2_000:]}, seed=0)
    assert metrics["codes_in_use"] == 16
    assert metrics["perplexity"] > 12


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"quantizer": "fsq"}, {"residual": 2, "codebook": 16}])
def test_other_quantizers_are_exported(options: dict[str, object]) -> None:
    model = build(NUMBERS, Section.model_validate({"family": "vq_vae", **options}), 0)
    arrays = random_rows(NUMBERS, 512)
    row = model.preprocessing({name: torch.from_numpy(array) for name, array in arrays.items()})
    model.prepare(Batch(row, row))
    model.eval()

    exported = export_parts(model.parts(), arrays)

    assert [part.part for part in exported] == ["encoder", "decoder", "sampler", "code_prior"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": [5, 5]}, r"levels = \[5, 5\] has no effect: set quantizer = 'fsq'"),
        ({"quantizer": "fsq", "codebook": 64}, "codebook = 64 has no effect with quantizer = 'fsq': set levels"),
        ({"quantizer": "fsq", "residual": 2}, "residual = 2 does not go with quantizer = 'fsq'"),
        (
            {"quantizer": "fsq", "levels": [1, 5]},
            "expected at least 2 levels per number and a product of at most 65,536",
        ),
        ({"quantizer": "fsq", "levels": [99, 99, 99]}, "expected at least 2 levels per number"),
        ({"residual": 9}, "residual = 9: .*less than or equal to 8"),
    ],
)
def test_options_that_do_not_fit_the_quantizer_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionInvalid, match=message):
        build(NUMBERS, Section.model_validate({"family": "vq_vae", **options}), 0)
