"""Flows: change of variables against the Jacobian of autograd, identity at the start, and a better bound."""

import numpy as np
import pytest
import torch
from torch import Tensor

from aepipe.config.job import Model as Section
from aepipe.config.job import Train
from aepipe.errors import OptionInvalid
from aepipe.export.export import export_parts
from aepipe.layout import Layout, Number
from aepipe.models.encoder_decoder import GaussianEncoderDecoder
from aepipe.models.families import build
from aepipe.models.latent_priors import draw_latents
from aepipe.models.layers.posterior_flow import PosteriorFlow, make_flow
from aepipe.training.loop import fit, measure
from tests.support.family_models import context, make_model
from tests.support.layouts import NUMBERS, random_rows

every_kind = pytest.mark.parametrize("kind", ["planar", "iaf"])


def random_flow(kind: str, latents: int, steps: int) -> PosteriorFlow:
    torch.manual_seed(0)
    flow = make_flow(kind, latents, steps)
    assert flow is not None
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.copy_(0.7 * torch.randn(parameter.shape))
    return flow.double()


def inputs(rows: int, latents: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(rows, latents, dtype=torch.float64), torch.randn(rows, latents, dtype=torch.float64)


@every_kind
@pytest.mark.parametrize("steps", [1, 3, 4])
def test_the_log_determinant_is_that_of_the_jacobian(kind: str, steps: int) -> None:
    flow = random_flow(kind, 3, steps)
    z0, of_rows = inputs(10, 3)

    found = flow(z0, of_rows).log_det

    for row in range(10):
        jacobian = torch.autograd.functional.jacobian(
            lambda z, at=row: flow(z[None], of_rows[at : at + 1]).z[0], z0[row]
        )
        torch.testing.assert_close(found[row], torch.linalg.slogdet(jacobian).logabsdet)


def test_an_autoregressive_step_has_a_triangular_jacobian() -> None:
    flow = random_flow("iaf", 4, 1)
    z0, of_rows = inputs(1, 4)

    jacobian = torch.autograd.functional.jacobian(lambda z: flow(z[None], of_rows).z[0], z0[0])

    assert torch.equal(jacobian, jacobian.tril())
    assert (jacobian.diagonal() > 0).all()


@every_kind
def test_a_flow_starts_as_the_identity(kind: str) -> None:
    flow = make_flow(kind, 3, 4)
    assert flow is not None
    z0, of_rows = inputs(10, 3)

    answer = flow.double()(z0, of_rows)

    torch.testing.assert_close(answer.z, z0)
    torch.testing.assert_close(answer.log_det, torch.zeros_like(answer.log_det))


@every_kind
def test_at_the_start_the_kl_of_draws_is_that_of_the_gaussian(kind: str) -> None:
    model, row = make_model("vae", posterior=kind)
    assert isinstance(model, GaussianEncoderDecoder)
    encoded = model.encode(row)
    assert encoded.flow_base is not None

    estimate = torch.stack([model.draw(encoded, context(seed).generator).kl for seed in range(300)]).mean()

    mean, log_var = encoded.flow_base.mean, encoded.flow_base.log_var
    exact = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1).mean()
    assert estimate.item() == pytest.approx(exact.item(), rel=0.02)


def test_latents_for_the_fitted_prior_pass_through_the_flow() -> None:
    model, _ = make_model("vae", posterior="planar")
    assert isinstance(model, GaussianEncoderDecoder)
    assert model.flow is not None
    model.float()
    rows = {name: np.repeat(array[:1], 4_000, axis=0) for name, array in random_rows(NUMBERS, 1).items()}
    before = draw_latents(model, rows, seed=0)
    with torch.no_grad():
        for step in model.flow.steps.parameters():
            step.add_(0.5)

    after = draw_latents(model, rows, seed=0)

    assert before.shape == after.shape == (4_000, 2)
    assert np.abs(before.mean(axis=0) - after.mean(axis=0)).max() > 0.05


@pytest.mark.slow
def test_the_bound_on_held_out_rows_is_tighter_than_of_a_gaussian_posterior() -> None:
    """A row determines only the sum of squares of two latents, so that its posterior is a ring."""
    generator = np.random.default_rng(0)
    layout = Layout(columns=tuple("abc"), numbers=tuple(Number(name=c, column=j) for j, c in enumerate("abc")))
    latent = generator.standard_normal((6_000, 2))
    one = np.stack([latent[:, 0] * latent[:, 1], latent[:, 0] ** 2 - latent[:, 1] ** 2, np.abs(latent[:, 0])], 1)
    rows = one + 0.1 * generator.standard_normal(one.shape)
    rows = ((rows - rows.mean(0)) / rows.std(0)).astype(np.float32)

    bounds = {}
    for kind in ("gaussian", "planar", "iaf"):
        model = build(layout, Section.model_validate({"family": "vae", "latent": 2, "posterior": kind}), 0)
        fit(model, {"num": rows[:4_000]}, {"num": rows[4_000:5_000]}, Train(epochs=60, patience=60))
        bounds[kind] = measure(model, {"num": rows[5_000:]}, seed=0)["elbo"]

    assert bounds["iaf"] > bounds["gaussian"] + 0.02
    assert bounds["planar"] > bounds["gaussian"] + 0.02


@pytest.mark.slow
@every_kind
def test_a_flow_is_exported(kind: str) -> None:
    model, _ = make_model("vae", posterior=kind)
    model.float()

    exported = export_parts(model.parts(), random_rows(NUMBERS, 512))

    assert [part.part for part in exported] == ["encoder", "decoder", "sampler"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flow_steps": 3}, "flow_steps = 3 has no effect: set posterior = 'iaf', or omit flow_steps"),
        ({"posterior": "iaf", "prior": "vampprior"}, "posterior = 'iaf' does not go with prior = 'vampprior'"),
        ({"posterior": "radial"}, "posterior = 'radial': Input should be 'gaussian', 'planar' or 'iaf'"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionInvalid, match=message):
        build(NUMBERS, Section.model_validate({"family": "vae", **options}), 0)
