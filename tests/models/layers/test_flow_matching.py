"""Flow-matching prior: exact velocities, pairs by brute force, a distribution that no Gaussian has, and the export."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from aepipe.config.job import Model as Section
from aepipe.errors import OptionInvalid
from aepipe.export.export import export_parts
from aepipe.jobs.train.bundle_plan import refuse_flow
from aepipe.models.base import Part
from aepipe.models.families import build, find, names
from aepipe.models.latent_priors import MIXTURE, NORMAL, fit_priors, mixture_of
from aepipe.models.layers.flow_matching import FlowMatchingPrior, Velocity, fit_flow, shortest_pairs
from aepipe.models.layers.prior import MixturePrior, fit_mixture
from tests.support.layouts import NUMBERS, layout_for, random_rows

FAMILIES = [name for name in names() if "euler_steps" in find(name).options.model_fields]


class ToGaussian(nn.Module):
    """Velocity from N(0, 1) to N(mean, std^2) that straight independent paths have at a time, in closed form."""

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.mean, self.std = mean, std

    def forward(self, point: Tensor, time: Tensor) -> Tensor:
        at = torch.asin(time[0]) * 8 / math.pi  # the lowest frequency of the features
        variance = (1 - at) ** 2 + (at * self.std) ** 2
        return self.mean + (at * self.std**2 - (1 - at)) / variance * (point - at * self.mean)


def test_euler_steps_along_the_exact_velocity_reach_the_gaussian() -> None:
    source = MixturePrior(np.ones(1), np.asarray([[10.0]]), np.asarray([[[2.0]]]))
    prior = FlowMatchingPrior(source, ToGaussian(1.5, 0.5), np.asarray([10.0]), np.asarray([2.0]), steps=1_000)
    eps = torch.linspace(-2, 2, 9).unsqueeze(1)

    z = prior(eps, torch.zeros(9, 1))

    torch.testing.assert_close(z, 10 + 2 * (1.5 + 0.5 * eps), rtol=0, atol=0.01)


def test_pairs_have_the_shortest_paths() -> None:
    generator = torch.Generator().manual_seed(0)
    start, end = (torch.randn(6, 2, generator=generator) for _ in range(2))

    paired = shortest_pairs(start, end)

    orders = (end[list(order)] for order in itertools.permutations(range(6)))
    least = min(float((order - start).square().sum()) for order in orders)
    assert float((paired - start).square().sum()) == pytest.approx(least)


@pytest.mark.slow
def test_draws_have_the_hole_of_a_ring_and_repeat_no_row() -> None:
    generator = np.random.default_rng(0)
    angle = generator.uniform(0, 2 * math.pi, 2_000)
    radius = 3 + 0.2 * generator.standard_normal(2_000)
    ring = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)

    source = fit_mixture(ring, components=1, seed=0)

    prior = fit_flow(ring[None], source, steps=20, seed=0)

    noise = torch.Generator().manual_seed(1)
    drawn = prior(torch.randn(4_000, 2, generator=noise), torch.rand(4_000, 1, generator=noise)).numpy()
    radii, angles = np.hypot(*drawn.T), np.arctan2(drawn[:, 1], drawn[:, 0])
    assert radii.mean() == pytest.approx(3, abs=0.1)
    assert radii.std() < 0.4  # a Gaussian of these moments has 1.1
    np.testing.assert_allclose(np.histogram(angles, 4, (-math.pi, math.pi))[0] / 4_000, 0.25, atol=0.03)
    apart = np.sqrt(np.square(drawn[:500, None] - ring).sum(2)).min(1)
    own = np.sqrt(np.square(ring[:500, None] - ring).sum(2) + 1e9 * np.eye(500, 2_000)).min(1)
    assert np.median(apart) > 0.7 * np.median(own)


@pytest.mark.parametrize("family", FAMILIES)
def test_samples_come_from_the_flow_of_the_latents(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aepipe.models.layers.flow_matching._MOST_STEPS", 2)
    monkeypatch.setattr("aepipe.models.layers.flow_matching._CHECK_EVERY", 1)
    layout = layout_for(family)
    section = Section.model_validate({"family": family, "latent": 2, "prior": "flow_matching", "euler_steps": 3})
    model = build(layout, section, 0).eval()

    fitted, normal = fit_priors(model, random_rows(layout, 100), components=10)

    assert (fitted.name, normal.name) == (MIXTURE, NORMAL)
    assert isinstance(fitted.module, FlowMatchingPrior)
    assert len(fitted.module.times) == 3
    assert not isinstance(normal.module, FlowMatchingPrior)


@pytest.mark.slow
def test_the_exported_prior_has_one_step_and_draws_what_torch_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aepipe.models.layers.flow_matching._MOST_STEPS", 50)
    sizes = {}
    for steps in (3, 40):
        section = {"family": "vae", "latent": 2, "prior": "flow_matching", "euler_steps": steps}
        model = build(NUMBERS, Section.model_validate(section), 0).eval()
        arrays = random_rows(NUMBERS, 512)

        exported = export_parts((*model.parts(), *fit_priors(model, arrays, components=3)), arrays)

        prior = exported[3]
        assert prior.part == MIXTURE
        assert prior.onnx.count(b"Scan") >= 1
        sizes[steps] = len(prior.onnx)
    assert sizes[40] < sizes[3] + 40 * 200  # the times are there, the network is not repeated


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"euler_steps": 9}, "euler_steps = 9 has no effect: set prior = 'flow_matching', or omit euler_steps"),
        ({"prior": "flow_matching", "pseudo_inputs": 9}, "pseudo_inputs = 9 has no effect: set prior = 'vampprior'"),
        ({"prior": "flow_matching", "euler_steps": 0}, "euler_steps = 0: Input should be greater than or equal to 1"),
    ],
)
def test_options_without_effect_are_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(OptionInvalid, match=sentence):
        build(NUMBERS, Section.model_validate({"family": "vae", **options}), 0)


def test_few_rows_are_refused_before_training() -> None:
    model = build(NUMBERS, Section.model_validate({"family": "vae", "prior": "flow_matching"}), 0)

    with pytest.raises(OptionInvalid, match="needs at least 500 training rows, got 499: a flow would repeat them"):
        refuse_flow(model, 499)
    refuse_flow(model, 500)


def test_an_untrained_velocity_leaves_the_mixture_as_it_is() -> None:
    source = fit_mixture(np.random.default_rng(0).standard_normal((300, 3)), components=4, seed=0)
    prior = FlowMatchingPrior(source, Velocity(3), np.ones(3), 2 * np.ones(3), steps=4)
    eps, u = torch.randn(7, 3), torch.rand(7, 1)

    torch.testing.assert_close(prior(eps, u), source(eps, u))
    assert mixture_of([Part("prior", prior, prior.noise, ())]) is source.mixture
    assert prior(eps[:0], u[:0]).shape == (0, 3)
