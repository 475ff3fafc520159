"""Hierarchical VAE: bounds and divergences against torch.distributions, and its learned prior."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from aepipe.config.job import Model as Section
from aepipe.config.job import Train
from aepipe.errors import OptionInvalid
from aepipe.layout import Layout, Number
from aepipe.models.base import Batch, Loss, Model, StepContext
from aepipe.models.families import build
from aepipe.models.layers.preprocessing import Row
from aepipe.training.loop import fit, measure
from tests.support.layouts import NUMBERS, random_rows

WIDTHS = (2, 1, 3)
RING = Layout(columns=tuple("abcd"), numbers=tuple(Number(name=name, column=j) for j, name in enumerate("abcd")))


def make(rows: int = 64, **keys: object) -> tuple[Model, Row]:
    """Build and prepare a model of three levels, each dependent on the levels above, in float64."""
    section = Section.model_validate({"family": "hierarchical_vae", "levels": WIDTHS, **keys})
    model = build(NUMBERS, section, 0).double().eval()
    row = model.preprocessing({name: torch.from_numpy(array) for name, array in random_rows(NUMBERS, rows).items()})
    model.prepare(Batch(row, row))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for step in model.ladder.steps:
            step[-1].weight.normal_(std=0.2, generator=generator)
    return model, row


def loss_of(model: Model, row: Row, progress: float = 1.0) -> Loss:
    return model.objectives()[0].loss(Batch(row, row), StepContext(progress, torch.Generator().manual_seed(0)))


def prior_of(model: Model, level: int, above: Tensor) -> Normal:
    """Return the prior of a level by its step's network."""
    if level == 0:
        return Normal(torch.zeros(len(above), WIDTHS[0]).double(), 1.0)
    mean, log_var = model.ladder.steps[level - 1](above).chunk(2, 1)
    return Normal(mean, (0.5 * log_var).exp())


def by_hand(model: Model, row: Row, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute (z, KL of each latent, log p(z) - log q(z)) level by level, by products of densities."""
    encoder_mean, encoder_log_var = model.encoder(row).chunk(2, 1)
    z, kls, ratio = noise[:, :0], [], torch.zeros(len(noise)).double()
    for level, eps in enumerate(noise.split(WIDTHS, 1)):
        here = slice(z.shape[1], z.shape[1] + WIDTHS[level])
        prior, precision = prior_of(model, level, z), torch.exp(-encoder_log_var[:, here])
        both = precision + prior.variance.reciprocal()
        mean = (precision * encoder_mean[:, here] + prior.mean / prior.variance) / both
        posterior = Normal(mean, both.rsqrt())
        drawn = posterior.mean + posterior.stddev * eps
        ratio = ratio + (prior.log_prob(drawn) - posterior.log_prob(drawn)).sum(1)
        kls.append(kl_divergence(posterior, prior))
        z = torch.cat([z, drawn], 1)
    return z, torch.cat(kls, 1), ratio


def test_the_loss_is_the_negative_evidence_lower_bound() -> None:
    model, row = make(sigma=0.7, free_bits=0)
    noise = torch.randn(64, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    loss = loss_of(model, row)

    z, kl, _ = by_hand(model, row, noise)
    nll = -Normal(model.decode(z, row.given), 0.7).log_prob(row.dense).sum(1).mean()
    assert loss.terms["nll"].item() == pytest.approx(nll.item())
    assert loss.total.item() == pytest.approx((nll + kl.sum(1).mean()).item())


def test_the_kl_of_a_row_is_exact_at_the_means_of_the_levels_above() -> None:
    model, row = make()

    posterior = model.posterior(row)

    z, kl, _ = by_hand(model, row, torch.zeros(64, 6, dtype=torch.float64))
    torch.testing.assert_close(posterior.mean, z)
    torch.testing.assert_close(posterior.kl, kl)


def test_the_tighter_bound_is_the_mean_of_importance_weights() -> None:
    model, row = make(sigma=1.0)
    generator = torch.Generator().manual_seed(0)
    torch.randn(64, 6, generator=generator, dtype=torch.float64)  # the draws of the bound itself
    weights = []
    for _ in range(64):
        z, _, ratio = by_hand(model, row, torch.randn(64, 6, generator=generator, dtype=torch.float64))
        weights.append(Normal(model.decode(z, row.given), 1.0).log_prob(row.dense).sum(1) + ratio)

    with torch.no_grad():
        metrics = model.card_metrics(Batch(row, row), torch.Generator().manual_seed(0))

    oracle = torch.stack(weights).exp().mean(0).log().mean().item()
    assert metrics["log_likelihood"] == pytest.approx(oracle)
    assert metrics["elbo"] < oracle


def test_where_the_decoder_takes_no_notice_of_latents_the_tighter_bound_is_the_likelihood() -> None:
    model, row = make(sigma=1.0)
    torch.nn.utils.vector_to_parameters(torch.zeros(10_000).double(), model.decoder.parameters())
    likelihood = Normal(0.0, 1.0).log_prob(row.dense).sum(1).mean().item()

    with torch.no_grad():
        metrics = model.card_metrics(Batch(row, row), torch.Generator().manual_seed(0))

    assert metrics["elbo"] < likelihood - 1
    assert metrics["log_likelihood"] == pytest.approx(likelihood, abs=0.3)


def test_draws_of_the_prior_have_its_density() -> None:
    model, _ = make()
    prior = model.prior()
    assert prior is not None
    noise = torch.randn(50, 6, dtype=torch.float64)

    z = prior(noise)

    found, begin = torch.zeros(50).double(), 0
    for level, width in enumerate(WIDTHS):
        found += prior_of(model, level, z[:, :begin]).log_prob(z[:, begin : begin + width]).sum(1)
        begin += width
    slopes = torch.func.vmap(torch.func.jacrev(lambda eps: prior(eps.unsqueeze(0)).squeeze(0)))(noise)
    changed = Normal(0.0, 1.0).log_prob(noise).sum(1) - torch.linalg.slogdet(slopes).logabsdet
    torch.testing.assert_close(found, changed)


def test_untrained_levels_are_a_flat_code() -> None:
    section = Section.model_validate({"family": "hierarchical_vae", "levels": WIDTHS})
    prior = build(NUMBERS, section, 0).prior()
    assert prior is not None
    noise = torch.randn(9, 6)

    assert torch.equal(prior(noise), noise)


def test_the_loss_of_a_level_is_at_least_its_free_bits() -> None:
    model, row = make(free_bits=100.0, warm_up=0.5)

    loss = loss_of(model, row, progress=0.25)

    assert loss.total.item() == pytest.approx(loss.terms["nll"].item() + 0.5 * 3 * 100.0)


def test_latents_are_named_by_their_levels_the_top_first() -> None:
    model, _ = make()

    assert model.latent.names == ("z0_000", "z0_001", "z1_000", "z2_000", "z2_001", "z2_002")


@pytest.mark.slow
def test_every_level_is_used_and_prior_draws_resemble_the_rows() -> None:
    """Two columns are a point on a ring, the other two the same point, rotated by an angle of the row."""
    generator = np.random.default_rng(0)
    angle = generator.uniform(0, 2 * np.pi, 2_000)
    turned = 2 * angle + generator.normal(0, 0.1, 2_000)
    rows = np.stack([np.cos(angle), np.sin(angle), np.cos(turned), np.sin(turned)], 1)
    rows = (np.sqrt(2) * (rows + generator.normal(0, 0.05, rows.shape))).astype(np.float32)
    model = build(RING, Section.model_validate({"family": "hierarchical_vae", "levels": (2, 2)}), 0)

    fit(model, {"num": rows[:1_600]}, {"num": rows[1_600:]}, Train(epochs=20))

    metrics = measure(model, {"num": rows[1_600:]}, seed=0)
    assert metrics["kl.z0"] > 0.5
    assert metrics["kl.z1"] > 0.5
    flat = build(RING, Section.model_validate({"family": "vae", "latent": 4}), 0)
    fit(flat, {"num": rows[:1_600]}, {"num": rows[1_600:]}, Train(epochs=20))
    assert metrics["elbo"] > measure(flat, {"num": rows[1_600:]}, seed=0)["elbo"]


@pytest.mark.parametrize(
    ("levels", "sentence"),
    [((3,), "levels = .3. has one level"), ((4_000, 400), "expected at most 4096, got 4400")],
)
def test_levels_that_are_not_a_hierarchy_are_refused(levels: tuple[int, ...], sentence: str) -> None:
    section = Section.model_validate({"family": "hierarchical_vae", "levels": levels})

    with pytest.raises(OptionInvalid, match=sentence):
        build(NUMBERS, section, 0)
