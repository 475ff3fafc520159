"""Multinomial VAE: losses and rankings against torch, draws without replacement, and refusals."""

import numpy as np
import pytest
import torch

from aepipe.config.job import Model as Section
from aepipe.errors import OptionInvalid
from aepipe.layout import END, MISSING
from aepipe.models.base import Model
from aepipe.models.families import build, plan
from aepipe.models.families.mult_vae import MultVae
from aepipe.models.layers.item_bag import ItemBag
from aepipe.models.layers.items_likelihood import ItemsLikelihood
from aepipe.models.layers.preprocessing import Row
from tests.support.layouts import LAYOUTS, random_rows

LAYOUT = LAYOUTS["items"]
ITEMS = LAYOUT.texts[0].size - END - 1


def rows_of(count: int) -> Row:
    model = build(LAYOUT, Section(family="mult_vae"), 0)
    row: Row = model.preprocessing({name: torch.from_numpy(each) for name, each in random_rows(LAYOUT, count).items()})
    return row


def indicators(codes: torch.Tensor) -> torch.Tensor:
    """Compute which items each row has, (B, I), in a loop."""
    return torch.tensor([[float(END + 1 + item in row) for item in range(ITEMS)] for row in codes.tolist()])


def test_the_loss_of_the_items_is_the_multinomial_of_torch_without_its_coefficient() -> None:
    model, row = build(LAYOUT, Section(family="mult_vae"), 0), rows_of(30)
    params = torch.randn(30, model.likelihood.width)

    losses = model.likelihood.nll(params, row)

    logits, counts = params[:, -ITEMS:], indicators(row.codes)
    for at in range(30):
        total = int(counts[at].sum())
        if total:
            multinomial = torch.distributions.Multinomial(total, logits=logits[at]).log_prob(counts[at])
            coefficient = torch.lgamma(torch.tensor(total + 1.0))  # each item once
            torch.testing.assert_close(losses[at, 2:].sum(), coefficient - multinomial, atol=1e-4, rtol=1e-4)
        else:
            assert losses[at, 2:].sum() == 0


def test_items_enter_as_a_vector_of_unit_length() -> None:
    torch.manual_seed(0)
    bag, codes = ItemBag(LAYOUT.texts[0].size, 5), rows_of(40).codes

    found = bag(codes)

    unit = torch.nn.functional.normalize(indicators(codes))
    torch.testing.assert_close(found, unit @ bag.table[END + 1 :])


def test_ranked_items_are_the_likeliest_that_a_row_does_not_have() -> None:
    model, row = build(LAYOUT, Section(family="mult_vae"), 0), rows_of(30)
    assert isinstance(model.likelihood, ItemsLikelihood)
    params = torch.randn(30, model.likelihood.width)

    items, log_p = model.likelihood.rank(params, row)

    for at, has in enumerate(indicators(row.codes)):
        stated = params[at, -ITEMS:].log_softmax(0)
        unseen = sorted(np.flatnonzero(has.numpy() == 0), key=lambda item: -float(stated[item]))
        assert (items[at, : len(unseen)] - END - 1).tolist() == [int(item) for item in unseen]
        torch.testing.assert_close(log_p[at, : len(unseen)], stated[unseen])
        assert (log_p[at, len(unseen) :] < -1e3).all()


def test_drawn_items_are_draws_without_replacement() -> None:
    likelihood = build(LAYOUT, Section(family="mult_vae"), 0).likelihood
    params = torch.randn(1, likelihood.width).expand(40_000, -1)
    generator = torch.Generator().manual_seed(1)
    noise = [torch.rand((40_000, *port.row_shape), generator=generator) for port in likelihood.noise]

    _, drawn = likelihood.draw(params, *noise)

    stated = params[0, -ITEMS:].softmax(0).numpy()
    first = np.bincount(drawn[:, 0].numpy() - END - 1, minlength=ITEMS) / 40_000
    np.testing.assert_allclose(first, stated, atol=0.012)
    top = int(stated.argmax())
    second = drawn[drawn[:, 0] == top + END + 1][:, 1].numpy() - END - 1
    rest = np.where(np.arange(ITEMS) == top, 0, stated)
    np.testing.assert_allclose(np.bincount(second, minlength=ITEMS) / len(second), rest / rest.sum(), atol=0.03)
    assert all(len(set(row)) == 6 for row in drawn[:200].tolist())


def test_half_of_the_items_are_hidden_from_the_encoder_in_the_loss_but_not_in_scores() -> None:
    model, row = build(LAYOUT, Section(family="mult_vae"), 0), rows_of(400)
    assert isinstance(model, MultVae)

    thinned = model._thinned(row, torch.Generator().manual_seed(0)).codes

    had = row.codes > END
    assert 0.4 < float((thinned[had] == MISSING).float().mean()) < 0.6
    assert torch.equal(thinned[thinned > END], row.codes[thinned > END])
    changed = row._replace(codes=thinned)
    assert not torch.allclose(model.posterior(row).mean, model.posterior(changed).mean)
    assert torch.equal(model.posterior(row).mean, model.posterior(row).mean)


@pytest.mark.parametrize("family", ["ae", "vae", "mult_vae"])
def test_networks_of_items_are_linear_unless_the_job_has_hidden_layers(family: str) -> None:
    linear, deep = (
        build(LAYOUT, Section.model_validate({"family": family, **job}), 0) for job in ({}, {"hidden": [8]})
    )
    z = torch.randn(3, len(linear.latent.names))
    z[2] = (z[0] + z[1]) / 2

    def bend(model: Model) -> float:
        decoded = model.decode(z[:, : len(model.latent.names)], torch.zeros(3, 0))
        return float((decoded[2] - (decoded[0] + decoded[1]) / 2).abs().max().detach())

    assert bend(linear) < 1e-5
    assert bend(deep) > 1e-4
    assert linear.objectives()[0].learning_rate == 1e-3


def test_layouts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(OptionInvalid, match="needs a list of items, but no column is one"):
        plan(LAYOUTS["mixed"], Section(family="mult_vae"))
    with pytest.raises(OptionInvalid, match="has no lists of items, but 'basket' is one: use ae or mult_vae or vae"):
        plan(LAYOUT, Section(family="wae"))
    both = LAYOUT.model_copy(update={"texts": (*LAYOUT.texts, LAYOUTS["text"].texts[0])})
    with pytest.raises(OptionInvalid, match="'basket' and 'line' cannot be modelled together"):
        plan(both, Section(family="mult_vae"))
