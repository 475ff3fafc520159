"""VampPrior: densities against torch.distributions, the exported mixture, and a better bound on held-out rows."""

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from aepipe.config.job import Model as Section
from aepipe.config.job import Train
from aepipe.errors import OptionInvalid
from aepipe.export.export import export_parts
from aepipe.layout import Layout, Number
from aepipe.models.base import Batch
from aepipe.models.encoder_decoder import GaussianEncoderDecoder
from aepipe.models.families import build, find, names
from aepipe.models.latent_priors import MIXTURE, NORMAL, fit_priors
from aepipe.models.layers.gaussian import Gaussian
from aepipe.models.layers.prior import MixturePrior
from aepipe.models.layers.vamp_prior import PseudoInputs, kl_to_mixture, mixture_log_density
from aepipe.training.loop import fit, measure
from tests.support.family_models import context, make_model
from tests.support.layouts import NUMBERS, layout_for, random_rows


def gaussians(count: int, seed: int) -> Gaussian:
    generator = torch.Generator().manual_seed(seed)
    mean = 2 * torch.randn(count, 3, generator=generator, dtype=torch.float64)
    return Gaussian(mean, torch.randn(count, 3, generator=generator, dtype=torch.float64))


def mixture_of(components: Gaussian) -> MixtureSameFamily:
    weights = Categorical(logits=torch.zeros(len(components.mean), dtype=torch.float64))
    return MixtureSameFamily(weights, Independent(Normal(components.mean, (0.5 * components.log_var).exp()), 1))


def test_the_density_is_that_of_torch_s_mixture() -> None:
    components, z = gaussians(5, seed=0), gaussians(40, seed=1).mean

    expected = mixture_of(components).log_prob(z)

    torch.testing.assert_close(mixture_log_density(z, components), expected)


def test_the_kl_to_one_component_is_exact() -> None:
    own, component = gaussians(40, seed=0), gaussians(1, seed=1)

    expected = kl_divergence(*(Normal(each.mean, (0.5 * each.log_var).exp()) for each in (own, component))).sum(1)

    torch.testing.assert_close(kl_to_mixture(own, component), expected.unsqueeze(1))


def test_the_kl_to_several_components_is_an_upper_bound() -> None:
    own, components = gaussians(40, seed=0), gaussians(5, seed=1)
    torch.manual_seed(0)
    posterior = Normal(own.mean, (0.5 * own.log_var).exp())
    z = posterior.sample((4_000,))

    estimate = (posterior.log_prob(z).sum(2) - mixture_of(components).log_prob(z)).mean(0)

    bound = kl_to_mixture(own, components).squeeze(1)
    assert (bound > estimate - 0.1).all()


def test_pseudo_inputs_start_as_training_rows_and_stay_rows() -> None:
    _, row = make_model("ae")
    pseudo = PseudoInputs(NUMBERS, 8).double()

    pseudo.start(row)

    places = torch.linspace(0, 63, 8).round().long()
    assert torch.equal(pseudo().dense, row.dense[places])


@pytest.mark.parametrize("family", [name for name in names() if "pseudo_inputs" in find(name).options.model_fields])
def test_samples_come_from_the_mean_posterior_of_the_pseudo_inputs(family: str) -> None:
    layout = layout_for(family)
    section = Section.model_validate({"family": family, "latent": 2, "prior": "vampprior", "pseudo_inputs": 6})
    model = build(layout, section, 0).eval()
    arrays = random_rows(layout, 100)
    row = model.preprocessing({name: torch.from_numpy(array) for name, array in arrays.items()})
    model.prepare(Batch(row, row))
    assert isinstance(model, GaussianEncoderDecoder)
    assert model.pseudo_inputs is not None

    first, second = fit_priors(model, arrays, components=10)

    assert isinstance(first.module, MixturePrior)
    assert (first.name, second.name) == (MIXTURE, NORMAL)
    posterior = model.posterior(model.pseudo_inputs())
    assert posterior.log_var is not None
    np.testing.assert_allclose(first.module.mixture.means, posterior.mean.detach(), rtol=1e-5)
    torch.manual_seed(0)
    drawn = first.module(torch.randn(20_000, 2), torch.rand(20_000, 1))
    expected = mixture_of(Gaussian(posterior.mean, posterior.log_var)).sample((20_000,))
    torch.testing.assert_close(
        drawn.quantile(torch.linspace(0.1, 0.9, 9), 0).double(),
        expected.quantile(torch.linspace(0.1, 0.9, 9).to(expected), 0).double(),
        rtol=0,
        atol=0.1,
    )


def test_the_weights_of_draws_use_the_mixture() -> None:
    model, row = make_model("vae", prior="vampprior", pseudo_inputs=5)
    assert isinstance(model, GaussianEncoderDecoder)
    assert model.pseudo_inputs is not None

    posterior = model.posterior(row)
    z, log_ratio = model.draw_weighted(posterior, context().generator)

    of_pseudo = model.posterior(model.pseudo_inputs())
    assert posterior.log_var is not None
    assert of_pseudo.log_var is not None
    own = Normal(posterior.mean, (0.5 * posterior.log_var).exp()).log_prob(z).sum(1)
    prior = mixture_of(Gaussian(of_pseudo.mean, of_pseudo.log_var)).log_prob(z)
    torch.testing.assert_close(log_ratio, prior - own)
    torch.testing.assert_close(model.draw(posterior, context().generator).kl, -log_ratio.unsqueeze(1))


@pytest.mark.slow
def test_the_bound_on_held_out_rows_is_tighter_than_with_a_normal_prior() -> None:
    generator = np.random.default_rng(0)
    layout = Layout(columns=tuple("abcdef"), numbers=tuple(Number(name=c, column=j) for j, c in enumerate("abcdef")))
    centres = 3 * generator.standard_normal((6, 2))
    points = centres[generator.integers(0, 6, 4_000)] + 0.2 * generator.standard_normal((4_000, 2))
    rows = points @ generator.standard_normal((2, 6)) + 0.1 * generator.standard_normal((4_000, 6))
    rows = ((rows - rows.mean(0)) / rows.std(0)).astype(np.float32)

    found = {}
    for prior in ("normal", "vampprior"):
        section = Section.model_validate({"family": "vae", "latent": 2, "prior": prior})
        model = build(layout, section, 0)
        fit(model, {"num": rows[:2_000]}, {"num": rows[2_000:3_000]}, Train(epochs=30))
        found[prior] = measure(model, {"num": rows[3_000:]}, seed=0)

    assert found["vampprior"]["log_likelihood"] > found["normal"]["log_likelihood"] + 0.3
    assert found["vampprior"]["elbo"] > found["normal"]["elbo"] + 0.3


@pytest.mark.slow
def test_the_prior_is_exported() -> None:
    model, _ = make_model("vae", prior="vampprior", pseudo_inputs=5)
    model.float()
    arrays = random_rows(NUMBERS, 512)

    exported = export_parts((*model.parts(), *fit_priors(model, arrays, components=3)), arrays)

    assert [part.part for part in exported] == ["encoder", "decoder", "sampler", MIXTURE, NORMAL]


def test_pseudo_inputs_without_their_prior_are_refused() -> None:
    with pytest.raises(OptionInvalid, match=r"pseudo_inputs = 9 has no effect: set prior = 'vampprior', or omit"):
        build(NUMBERS, Section.model_validate({"family": "vae", "pseudo_inputs": 9}), 0)
