"""Ensemble: each member against a single autoencoder with its weights, and bootstrap counts of rows."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from aepipe.config.job import Model as Section
from aepipe.config.job import Train
from aepipe.errors import OptionInvalid
from aepipe.layout import Layout
from aepipe.models.base import Batch, StepContext
from aepipe.models.families import build
from aepipe.models.families.ensemble_ae import EnsembleAutoencoder
from aepipe.models.layers.preprocessing import Row
from aepipe.training.loop import fit
from tests.support.layouts import LAYOUTS, MIXED, NUMBERS, random_rows

MEMBERS, ROWS = 3, 400


def ensemble(layout: Layout, **options: object) -> EnsembleAutoencoder:
    section = Section.model_validate({"family": "ensemble_ae", "members": MEMBERS, "latent": 2, **options})
    model = build(layout, section, 0)
    assert isinstance(model, EnsembleAutoencoder)
    return model


def prepared(layout: Layout) -> tuple[EnsembleAutoencoder, Batch]:
    """Build and prepare an ensemble, not yet trained; return it with all its rows."""
    model = ensemble(layout)
    row = model.preprocessing({name: torch.from_numpy(array) for name, array in random_rows(layout, ROWS).items()})
    batch = Batch(row, row, torch.arange(ROWS))
    model.training_rows = ROWS
    model.prepare(batch)
    return model.double(), Batch(*(_double(part) for part in (batch.input, batch.target)), batch.places)


def _double(row: Row) -> Row:
    return row._replace(dense=row.dense.double(), observed=row.observed.double(), given=row.given.double())


def _of_member(name: str, values: torch.Tensor, member: int) -> torch.Tensor:
    """Return one member's part of a tensor of the ensemble, in the layout of `ae`."""
    if name.startswith(("encoder.input_projection", "encoder.shortcut")):
        axis = 1 if name.endswith("table") else 0
        return values.chunk(MEMBERS, axis)[member]
    if name.endswith("bias"):
        return values[member, 0]
    return values[member].T


@pytest.mark.parametrize("name", ["mixed", "grey"])
@pytest.mark.parametrize("hidden", [[], [7, 5]])
def test_a_member_computes_what_an_autoencoder_with_its_weights_computes(name: str, hidden: list[int]) -> None:
    layout = LAYOUTS[name]
    model = ensemble(layout, hidden=hidden)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    row = model.preprocessing({key: torch.from_numpy(array) for key, array in random_rows(layout, 9).items()})
    section = {"family": "ae", "trunk": "mlp", "latent": 2, "hidden": hidden}
    alone = build(layout, Section.model_validate(section), 0)

    z = model.posterior(row).mean
    each = model.decode(z, row.given).chunk(MEMBERS, 1)

    for member in range(MEMBERS):
        weights = {key: _of_member(key, values, member) for key, values in model.named_parameters()}
        alone.load_state_dict(weights, strict=False)
        assert set(weights) == {key for key, _ in alone.named_parameters()}
        reconstruct = alone.reconstruct(row)
        torch.testing.assert_close(z[:, 2 * member : 2 * member + 2], reconstruct.posterior.mean)
        torch.testing.assert_close(each[member], reconstruct.params)


def test_each_member_counts_each_row_a_poisson_number_of_times_the_same_in_every_epoch() -> None:
    model, other = ensemble(NUMBERS), ensemble(NUMBERS)
    row = model.preprocessing({"num": torch.from_numpy(random_rows(NUMBERS, 30)["num"])})
    for each in (model, other):
        each.training_rows = 20_000
        each.prepare(Batch(row, row, torch.arange(30)))

    counts = model.counts

    assert torch.equal(counts, other.counts)
    torch.testing.assert_close(counts.mean(1), torch.ones(MEMBERS), atol=0.03, rtol=0)
    torch.testing.assert_close(counts.var(1), torch.ones(MEMBERS), atol=0.05, rtol=0)
    torch.testing.assert_close(
        (counts == 0).double().mean(1), torch.full((MEMBERS,), np.exp(-1)).double(), atol=0.02, rtol=0
    )
    assert np.abs(np.corrcoef(counts) - np.eye(MEMBERS)).max() < 0.03


def test_the_loss_is_the_mean_of_members_that_each_see_their_rows_as_often_as_they_count() -> None:
    model, batch = prepared(MIXED)
    some = torch.tensor([5, 7, 300, 2, 64, 65, 66])
    rows = Row(*(part[some] for part in batch.target))
    model.train()

    loss = model.objectives()[0].loss(Batch(rows, rows, some), StepContext(1.0, torch.Generator()))

    z = model.posterior(rows).mean
    each, nll = model.decode(z, rows.given).chunk(MEMBERS, 1), 0.0
    for member, counts in enumerate(model.counts[:, some].long()):
        seen = Row(*(part.repeat_interleave(counts, 0) for part in rows))
        nll += model.joint.one.nll(each[member].repeat_interleave(counts, 0), seen).sum().item() / 7 / MEMBERS
    assert loss.terms["nll"].item() == pytest.approx(nll)
    assert loss.total.item() == pytest.approx(nll + 1e-3 * z.square().sum().item() / 7 / MEMBERS)


def test_each_member_begins_at_the_principal_components_of_its_own_rows() -> None:
    model, batch = prepared(NUMBERS)

    each = model.reconstruct(batch.input).params.detach().chunk(MEMBERS, 1)

    dense = batch.input.dense.numpy()
    for member, counts in enumerate(model.counts.long().numpy()):
        pca = PCA(2).fit(dense.repeat(counts, 0))
        np.testing.assert_allclose(each[member], pca.inverse_transform(pca.transform(dense)), atol=1e-3)


def test_rows_held_out_count_once_and_members_disagree_about_them() -> None:
    model, _ = prepared(MIXED)
    model.float()
    fit(model, random_rows(MIXED, ROWS), random_rows(MIXED, 50, seed=1), Train(epochs=2))
    row = model.preprocessing({name: torch.from_numpy(rows) for name, rows in random_rows(MIXED, ROWS).items()})

    with torch.no_grad():
        loss = model.objectives()[0].loss(Batch(row, row, torch.arange(ROWS)), StepContext(1.0, torch.Generator()))
        metrics = model.card_metrics(Batch(row, row), torch.Generator())

    assert loss.terms["nll"].item() == pytest.approx(metrics["nll"], rel=1e-5)
    assert metrics["disagreement"] > 0


def test_members_wider_than_a_row_are_refused() -> None:
    with pytest.raises(OptionInvalid, match="latent = 9 is too wide: expected at most 5, the columns of a row"):
        ensemble(NUMBERS, latent=9)
