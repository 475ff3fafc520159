"""Vector quantisation with a learned codebook: losses, gradients, and the prior of the codes."""

import numpy as np
import pytest
import torch
from torch import Tensor

from aepipe.config.job import Model as Section
from aepipe.config.job import Train
from aepipe.errors import OptionInvalid
from aepipe.layout import Image, Layout
from aepipe.models.base import Batch, Loss, StepContext
from aepipe.models.export_parts import named
from aepipe.models.families import build
from aepipe.models.families.vq_vae import VectorQuantised
from aepipe.models.layers.preprocessing import Row
from aepipe.training.loop import fit
from tests.support.layouts import COLOUR, GREY, MIXED, NUMBERS, random_rows


def make(layout: Layout = GREY, rows: int = 32, **options: object) -> tuple[VectorQuantised, Batch]:
    """Build and prepare a model in float64; return it with its rows."""
    trunk = "conv" if layout.image is not None else "mlp"
    known: dict[str, object] = {"family": "vq_vae", "trunk": trunk, "codebook": 8} | options
    model = build(layout, Section.model_validate(known), 0).double()
    assert isinstance(model, VectorQuantised)
    arrays = random_rows(layout, rows)
    row = model.preprocessing(named(layout, [torch.from_numpy(arrays[port.name]) for port in layout.ports]))
    batch = Batch(row, row)
    model.prepare(batch)
    return model.eval(), batch


def context() -> StepContext:
    return StepContext(0.5, torch.Generator().manual_seed(0))


def repeated(batch: Batch) -> Batch:
    row = Row(*(torch.cat([part, part]) for part in batch.input))
    return Batch(row, row)


def autoencoder_loss(model: VectorQuantised, batch: Batch) -> Loss:
    return model.objectives()[0].loss(batch, context())


@pytest.mark.parametrize(
    ("height", "width", "codes"), [(28, 28, 49), (8, 8, 16), (7, 13, 28), (64, 64, 64), (5, 200, 25)]
)
def test_images_become_grids_of_codes_and_come_back_in_their_own_size(height: int, width: int, codes: int) -> None:
    layout = Layout(columns=("scan",), image=Image(channels=1, height=height, width=width))
    model, batch = make(layout, 3)

    reconstruct = model.reconstruct(batch.input)

    assert reconstruct.posterior.mean.shape == (3, codes)
    assert reconstruct.posterior.mean.dtype == torch.int64
    assert reconstruct.posterior.pooled.shape == (3, 32)
    assert reconstruct.params.shape == (3, height * width)


def test_tables_and_images_that_ask_for_it_become_vectors_of_codes() -> None:
    table, rows = make(NUMBERS, codes=3, code_width=2)
    image, images = make(COLOUR, codes=5)

    assert table.posterior(rows.input).mean.shape == (32, 3)
    assert table.posterior(rows.input).pooled.shape == (32, 6)
    assert image.posterior(images.input).mean.shape == (32, 5)
    assert len(image.latent.pooled) == 5 * 4


def test_a_target_of_another_size_is_rebuilt_from_a_vector_of_codes() -> None:
    layout = GREY.model_copy(update={"target": Image(channels=3, height=12, width=12)})
    arrays = random_rows(GREY, 4) | {"target": np.zeros((4, 3, 12, 12), np.uint8)}
    model = build(layout, Section(family="vq_vae", trunk="conv"), 0)

    reconstruct = model.reconstruct(
        model.preprocessing({name: torch.from_numpy(array) for name, array in arrays.items()})
    )

    assert reconstruct.params.shape == (4, 3 * 12 * 12)
    assert len(model.latent.names) == 16


def test_each_position_takes_the_nearest_vector_and_the_decoder_sees_nothing_else() -> None:
    model, batch = make()
    encoded, vectors = model.encoder(batch.input), model.codebook.vectors

    reconstruct = model.reconstruct(batch.input)

    codes = (encoded.unsqueeze(2) - vectors).square().sum(3).argmin(2)
    assert torch.equal(reconstruct.posterior.mean, codes)
    torch.testing.assert_close(reconstruct.params, model.decoder(vectors[codes]))
    torch.testing.assert_close(reconstruct.posterior.pooled, vectors[codes].mean(1))


def test_gradients_pass_the_codes_straight_through() -> None:
    model, batch = make(commitment=1e-12)
    seen: list[Tensor] = []

    def keep(_module: torch.nn.Module, _inputs: object, answer: Tensor) -> None:
        answer.retain_grad()
        seen.append(answer)

    model.encoder.register_forward_hook(keep)
    autoencoder_loss(model, batch).total.backward()

    nearest = model.codebook.look_up(model.codebook(seen[0].detach())).requires_grad_()
    model.likelihood.nll(model.decoder(nearest), batch.target).sum(1).mean().backward()
    assert seen[0].grad is not None
    torch.testing.assert_close(seen[0].grad, nearest.grad)


@pytest.mark.parametrize("layout", [GREY, MIXED], ids=["grid", "vector"])
def test_commitment_is_the_mean_distance_to_the_code_and_weighs_the_same_in_any_batch(layout: Layout) -> None:
    model, batch = make(layout, commitment=3.0)
    encoded = model.encoder(batch.input)
    apart = (encoded - model.codebook.vectors[model.codebook(encoded)]).square().mean() * layout.features
    nll = model.likelihood.nll(model.reconstruct(batch.input).params, batch.target).sum(1).mean()

    once, twice = autoencoder_loss(model, batch), autoencoder_loss(model, repeated(batch))

    torch.testing.assert_close(once.total, nll + 3.0 * apart)
    torch.testing.assert_close(twice.total, once.total)


def test_the_codebook_follows_in_training_alone_and_in_its_own_phase_alone() -> None:
    model, batch = make()
    autoencoder, prior = model.objectives()
    before = model.codebook.vectors.clone()

    autoencoder.loss(batch, context())
    model.train()
    prior.loss(batch, context())
    assert torch.equal(model.codebook.vectors, before)

    autoencoder.loss(batch, context())
    assert not torch.equal(model.codebook.vectors, before)


def test_the_prior_trains_after_the_codes_and_reaches_nothing_but_itself() -> None:
    model, batch = make()
    autoencoder, prior = model.objectives()

    prior.loss(batch, context()).total.backward()

    assert (autoencoder.phase, prior.phase) == (0, 1)
    assert all(parameter.grad is None for parameter in autoencoder.parameters)
    assert all(parameter.grad is not None for parameter in prior.parameters)


def test_the_kl_of_a_row_is_what_the_prior_says_of_its_codes() -> None:
    model, batch = make()

    posterior = model.posterior(batch.input)

    logits = model.parts()[-1].module(posterior.mean.int())
    expected = -torch.distributions.Categorical(logits=logits).log_prob(posterior.mean)
    torch.testing.assert_close(posterior.kl, expected)
    torch.testing.assert_close(model.objectives()[1].loss(batch, context()).total, expected.sum(1).mean())


def test_the_model_card_counts_codes_as_numpy_does() -> None:
    model, batch = make()
    codes = model.posterior(batch.input).mean.numpy()
    counts = np.bincount(codes.ravel(), minlength=8)
    shares = counts / codes.size

    with torch.no_grad():
        metrics = model.card_metrics(batch, torch.Generator())

    used = shares[shares > 0]
    assert metrics["perplexity"] == pytest.approx(np.exp(-(used * np.log(used)).sum()))
    assert metrics["codes_in_use"] == (counts > 0).sum()
    assert metrics["unigram_nats_per_code"] == pytest.approx(np.log(8))  # untrained: all alike
    assert metrics["elbo"] == pytest.approx(-metrics["nll"] - 16 * metrics["prior_nats_per_code"])


@pytest.mark.slow
def test_the_prior_learns_what_follows_what_and_draws_it() -> None:
    rng = np.random.default_rng(0)
    kinds = np.zeros((2, 1, 8, 8), np.uint8)
    kinds[0, :, :, ::2], kinds[1, :, 2:6] = 16, 16
    arrays = {"image": kinds[rng.integers(0, 2, 200)]}
    model = build(GREY, Section.model_validate({"family": "vq_vae", "codebook": 8, "codebook_decay": 0.8}), 0)

    fit(model, arrays, arrays, Train(epochs=6, batch_rows=16))

    with torch.no_grad():
        metrics = model.card_metrics(_batch(model, arrays), torch.Generator())
    assert metrics["mse"] < 0.01
    assert metrics["prior_nats_per_code"] < 0.3 * metrics["unigram_nats_per_code"]
    codes = model.prior()(torch.rand(200, 16, generator=torch.Generator().manual_seed(0)))  # type: ignore[misc]
    drawn = model.likelihood.expected(model.decode(codes.long(), torch.zeros(200, 0)))[0].numpy().astype(float)
    gaps = np.abs(drawn[:, None] - kinds.astype(float)).mean(axis=(2, 3, 4))
    assert (gaps.min(axis=1) < 1.5).mean() > 0.9  # of 16 grey levels
    assert 0.3 < (gaps.argmin(axis=1) == 0).mean() < 0.7


def _batch(model: torch.nn.Module, arrays: dict[str, np.ndarray]) -> Batch:
    with torch.no_grad():
        row = model.preprocessing({name: torch.from_numpy(array) for name, array in arrays.items()})
    return Batch(row, row)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"codebook": 1}, r"\[model\] codebook = 1: .*greater than or equal to 2"),
        ({"commitment": -1.0}, "commitment = -1.0: .*greater than 0"),
        ({"codebook_decay": 1.0}, "codebook_decay = 1.0: .*less than 1"),
        ({"codes": 0}, "codes = 0: .*greater than or equal to 1"),
        ({"latent": 8}, "unknown key 'latent'"),
    ],
)
def test_bad_options_are_refused_in_one_sentence(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionInvalid, match=message) as caught:
        build(GREY, Section.model_validate({"family": "vq_vae", **options}), 0)

    assert str(caught.value).count(". ") == 0
