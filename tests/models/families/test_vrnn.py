"""Variational recurrent network: the bound step by step, and the likelihood by quadrature."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from aepipe.config.job import Model as Section
from aepipe.config.job import Train
from aepipe.errors import OptionInvalid
from aepipe.layout import Layout, Number, Series
from aepipe.models.base import Batch, StepContext
from aepipe.models.families import build, plan
from aepipe.models.families.vrnn import StepPrior, VariationalRecurrentNetwork
from aepipe.models.layers.preprocessing import Row
from aepipe.training.loop import fit, measure
from tests.support.layouts import COLOUR, GREY, MIXED, SERIES, random_rows

LAYOUTS = pytest.mark.parametrize("layout", [SERIES, GREY, COLOUR], ids=["series", "grey", "colour"])


def make(layout: Layout = SERIES, rows: int = 40, **keys: object) -> tuple[VariationalRecurrentNetwork, Row]:
    section = Section.model_validate({"family": "vrnn", "latent": 2, "state": 5, **keys})
    model = build(layout, section, 0).double().eval()
    assert isinstance(model, VariationalRecurrentNetwork)
    row = model.preprocessing({name: torch.from_numpy(array) for name, array in random_rows(layout, rows).items()})
    model.prepare(Batch(row, row))
    return model, row


def gaussian(stats: Tensor) -> Normal:
    mean, log_var = stats.chunk(2, -1)
    return Normal(mean, (0.5 * log_var.clamp(-10, 6)).exp())


def cell(model: VariationalRecurrentNetwork, input_part: Tensor, latent_part: Tensor, state: Tensor) -> Tensor:
    """Compute the next state with torch's GRUCell, from the weights of three layers here. Equation 7."""
    net, width = model.network, len(state[0])
    own = torch.nn.GRUCell(2 * width, width).double()
    with torch.no_grad():
        own.weight_ih.copy_(torch.cat([net.input_layer.weight[width:], net.latent_layer.weight], 1))
        own.bias_ih.copy_(net.input_layer.bias[width:])
        own.weight_hh.copy_(net.state_layer.weight[width:])
        own.bias_hh.copy_(net.state_layer.bias[width:])
    after: Tensor = own(torch.cat([input_part, latent_part], 1), state)
    return after


def one_step(model: VariationalRecurrentNetwork, x: Tensor, state: Tensor) -> tuple[Normal, Normal]:
    """Return prior (equation 5) and posterior (equation 9) of the latents of a step."""
    net, width = model.network, len(state[0])
    hidden = net.input_layer(net.input_features(x))[:, :width] + net.state_layer(state)[:, :width]
    return gaussian(net.prior(state)), gaussian(net.encoder(hidden))


def answer(model: VariationalRecurrentNetwork, z: Tensor, state: Tensor) -> Tensor:
    """Compute the parameters of a step. Equation 6."""
    net = model.network
    outputs: Tensor = net.decoder(net.decoder_latent_layer(net.latent_features(z)) + net.decoder_state_layer(state))
    return outputs


@LAYOUTS
def test_the_loss_is_the_bound_that_the_equations_give_step_by_step(layout: Layout) -> None:
    model, row = make(layout)
    steps, valid = model.reading(row)
    eps = torch.randn((*steps.shape[:2], 2), generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    loss = model.objectives()[0].loss(Batch(row, row), StepContext(1.0, torch.Generator().manual_seed(0)))

    state, kl, outputs = steps.new_zeros(40, 5), steps.new_zeros(40), []
    for at, x in enumerate(steps):
        prior, own = one_step(model, x, state)
        z = own.mean + own.stddev * eps[at]
        kl = kl + valid[at, :, 0] * kl_divergence(own, prior).sum(1)
        outputs.append(answer(model, z, state))
        state = cell(model, model.network.input_features(x), model.network.latent_features(z), state)
    params = model._params(torch.stack(outputs))
    nll = model.likelihood.nll(params, row).sum(1)
    assert loss.terms["kl"].item() == pytest.approx(kl.mean().item())
    assert loss.terms["nll"].item() == pytest.approx(nll.mean().item())
    assert loss.total.item() == pytest.approx((nll + kl).mean().item())


def test_the_bound_lies_below_the_likelihood_which_importance_weights_reach() -> None:
    number = Number(name="x", column=0)
    layout = Layout(columns=("x",), series=Series(steps=2, shortest=2, longest=2, numbers=(number,)))
    model, row = make(layout, rows=3, latent=1, state=4, sigma=0.8)
    generator = torch.Generator().manual_seed(0)
    many = Row(*(part.repeat_interleave(2_000, 0) for part in row))

    nll, kl, _ = model._drawn(Batch(many, many), generator)
    bound = -(nll + kl).reshape(3, -1).mean(1)
    weighted = model.importance_weighted(Batch(many, many), generator, draws=20).reshape(3, -1)
    weighted = weighted.logsumexp(1) - math.log(2_000)

    exact = torch.tensor([by_quadrature(model, x) for x in row.dense[:, :, 0]], dtype=torch.float64)
    assert (bound < exact).all()
    torch.testing.assert_close(weighted, exact, atol=0.015, rtol=0)


@torch.no_grad()
def by_quadrature(model: VariationalRecurrentNetwork, x: Tensor) -> float:
    """Integrate out the latents of both steps on a grid: log p(x1, x2)."""
    grid = torch.linspace(-8, 8, 321, dtype=torch.float64)
    width = float(grid[1] - grid[0])
    begin = torch.zeros(1, 4, dtype=torch.float64)
    sigma = model.likelihood.sigma().exp()
    input_part = model.network.input_features(x[0].reshape(1, 1))
    total = 0.0
    first_prior = gaussian(model.network.prior(begin))
    for z in grid:
        z_first = z.reshape(1, 1)
        p_first = (first_prior.log_prob(z_first) + Normal(answer(model, z_first, begin), sigma).log_prob(x[0])).exp()
        state = cell(model, input_part, model.network.latent_features(z_first), begin)
        prior, z_second = gaussian(model.network.prior(state)), grid.reshape(-1, 1)
        states = state.expand(len(grid), -1)
        p_second = prior.log_prob(z_second) + Normal(answer(model, z_second, states), sigma).log_prob(x[1])
        total += float(p_first.sum()) * float(p_second.exp().sum()) * width**2
    return math.log(total)


@LAYOUTS
def test_a_row_goes_through_at_the_means_of_its_latents(layout: Layout) -> None:
    model, row = make(layout)
    steps, valid = model.reading(row)

    posterior, params = model.reconstruct(row)

    state, means = steps.new_zeros(40, 5), []
    for at, x in enumerate(steps):
        _, own = one_step(model, x, state)
        means.append(own.mean * valid[at])
        after = cell(model, model.network.input_features(x), model.network.latent_features(own.mean), state)
        state = torch.where(valid[at] > 0, after, state)
    means_of_steps = torch.stack(means).sum(0) / valid.sum(0)
    torch.testing.assert_close(posterior.mean, torch.stack(means).transpose(0, 1).flatten(1))
    torch.testing.assert_close(posterior.pooled, torch.cat([means_of_steps, state], 1))
    assert len(model.latent.pooled) == 2 + 5
    assert params.shape == (40, model.likelihood.width)


@LAYOUTS
def test_decoding_takes_the_means_of_its_own_outputs_as_inputs(layout: Layout) -> None:
    model, row = make(layout, pixels="bernoulli")
    steps = model.reading(row).steps
    z = torch.randn(40, len(model.latent.names), dtype=torch.float64)

    params = model.decode(z, row.given)

    state, outputs = steps.new_zeros(40, 5), []
    for at in range(len(steps)):
        of_step = z[:, 2 * at : 2 * at + 2]
        outputs.append(answer(model, of_step, state))
        mean = outputs[-1] if layout.series else 2 * torch.sigmoid(outputs[-1]) - 1
        fed_back = torch.cat([mean, mean.new_zeros(40, steps.shape[2] - mean.shape[1])], 1)
        state = cell(model, model.network.input_features(fed_back), model.network.latent_features(of_step), state)
    torch.testing.assert_close(params, model._params(torch.stack(outputs)))


def test_the_prior_of_a_step_depends_on_the_steps_before_it() -> None:
    model, _ = make()
    eps = torch.randn(40, 9, 2, dtype=torch.float64)

    z = StepPrior(model)(eps).reshape(40, 9, 2)

    first = gaussian(model.network.prior(torch.zeros(1, 5, dtype=torch.float64)))
    torch.testing.assert_close(z[:, 0], first.mean + first.stddev * eps[:, 0])
    again = StepPrior(model)(torch.cat([eps[:, :1] + 1, eps[:, 1:]], 1)).reshape(40, 9, 2)
    assert (again[:, 1:] != z[:, 1:]).any(2).all()


def test_what_is_beyond_a_window_s_end_changes_nothing() -> None:
    arrays = random_rows(SERIES, 20)
    arrays["length"][:] = 4
    other = arrays | {"steps": np.concatenate([arrays["steps"][:, :4], np.full((20, 5, 2), 9, np.float32)], 1)}
    model, _ = make()

    rows = [model.preprocessing({k: torch.from_numpy(v) for k, v in each.items()}) for each in (arrays, other)]
    (one, one_params), (two, two_params) = (model.reconstruct(row) for row in rows)

    assert torch.equal(one.pooled, two.pooled)
    assert torch.equal(one.kl, two.kl)
    assert not one.kl.unflatten(1, (9, 2))[:, 4:].any()
    assert torch.equal(model.likelihood.nll(one_params, rows[0]), model.likelihood.nll(two_params, rows[1]))


def test_the_losses_of_steps_add_up_to_the_window_s() -> None:
    model, row = make()

    losses = model.step_losses(row)

    posterior, params = model.reconstruct(row)
    nll = model.likelihood.nll(params, row)[:, :-1].sum(1)  # the last one is the length's
    torch.testing.assert_close(losses.nansum(1), nll + posterior.kl.sum(1))
    assert torch.equal(losses.isfinite().sum(1), row.codes[:, 0] + 1)


def test_lengths_are_as_frequent_as_in_training() -> None:
    model, row = make(rows=400)

    assert model.length is not None
    shares = torch.bincount(row.codes[:, 0], minlength=9) / 400

    torch.testing.assert_close(model.length.detach().softmax(0), shares.double(), atol=0.01, rtol=0)


def test_without_its_latents_the_network_costs_no_kl_and_answers_the_same_for_any() -> None:
    model, row = make(stochastic=False)

    loss = model.objectives()[0].loss(Batch(row, row), StepContext(1.0, torch.Generator()))

    assert loss.terms["kl"] == 0
    assert not model.reconstruct(row).posterior.kl.any()
    eps = torch.randn(40, 9, 2, dtype=torch.float64)
    assert not StepPrior(model)(eps).any()


def coin_windows(rows: int, seed: int) -> dict[str, np.ndarray]:
    """Draw two channels that jump together, up or down, at every step: the past tells nothing about the next jump."""
    rng = np.random.default_rng(seed)
    jumps = rng.choice([-1.0, 1.0], (rows, 9, 1)).repeat(2, 2)
    steps = jumps + 0.1 * rng.standard_normal((rows, 9, 2))
    return {"steps": steps.astype(np.float32), "length": np.full(rows, 9, np.int32)}


@pytest.mark.slow
@pytest.mark.slow
def test_latents_learn_what_earlier_steps_cannot_predict() -> None:
    numbers = tuple(Number(name=name, column=0) for name in "ab")
    layout = Layout(columns=("x",), series=Series(steps=9, shortest=9, longest=9, numbers=numbers))
    bounds = {}

    for stochastic in (True, False):
        section = Section.model_validate({"family": "vrnn", "stochastic": stochastic, "state": 32})
        model = build(layout, section, 0)
        fit(model, coin_windows(600, 0), coin_windows(100, 1), Train(epochs=6, batch_rows=32, patience=6))
        bounds[stochastic] = measure(model, coin_windows(200, 2), seed=0)["elbo"]

    # Gaussians with one spread cannot predict a jump: 1.42 nats per value. One bit per step is 0.69 nats.
    assert bounds[False] < -9 * 2 * 1.3
    assert bounds[True] > bounds[False] + 9


@pytest.mark.parametrize(
    "layout,keys,sentence",
    [
        (
            MIXED,
            {},
            "family 'vrnn' does not accept table rows: its backbones are recurrent. Use adversarial_ae or ae or",
        ),
        (
            SERIES,
            {"family": "vq_vae"},
            "does not accept series rows: its backbones are mlp, conv. Use ae or vae or vrnn.",
        ),
        (SERIES, {"trunk": "mlp"}, "trunk = 'mlp' is not one of family 'vrnn'"),
        (SERIES, {"latent": 999}, "latent = 999 is too wide: expected at most 256 per step"),
        (COLOUR.model_copy(update={"target": GREY.image}), {}, "it cannot reconstruct a target column"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(layout: Layout, keys: dict[str, object], sentence: str) -> None:
    with pytest.raises(OptionInvalid, match=r".") as refused:
        plan(layout, Section.model_validate({"family": "vrnn", **keys}))

    assert sentence in str(refused.value)
