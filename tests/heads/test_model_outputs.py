import numpy as np
import pytest
import torch

from aepipe.config import job as config
from aepipe.heads.model_outputs import ModelProbe, collect_outputs
from aepipe.layout import Layout
from aepipe.models import families
from aepipe.models.base import Model
from aepipe.models.export_parts import named
from tests.support.head_models import image_layout, mixed_layout, random_rows


def _model(layout: Layout, family: str = "vae") -> Model:
    model = families.build(layout, config.Model(family=family), seed=0)
    return model.eval()


@pytest.mark.parametrize("layout", [mixed_layout(), image_layout(), image_layout(5, 7, 3), image_layout(40, 40)])
def test_scoring_inputs_come_from_model_and_likelihood(layout: Layout) -> None:
    model, arrays = _model(layout), random_rows(layout, 11)
    tensors = [torch.from_numpy(arrays[port.name]) for port in layout.ports]

    with torch.no_grad():
        found = ModelProbe(model)(*tensors).evidence

        row = model.preprocessing(named(layout, tensors))
        posterior = model.posterior(row)
        nll = model.likelihood.nll(model.decode(posterior.mean, row.given), row)
    torch.testing.assert_close(found.total, nll.sum(1))
    torch.testing.assert_close(found.losses.sum(1), nll.sum(1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.kl, posterior.kl.sum(1))
    torch.testing.assert_close(found.z, posterior.mean)


def test_the_losses_of_one_column_are_summed() -> None:
    layout = mixed_layout()
    model, arrays = _model(layout), random_rows(layout, 5)
    tensors = [torch.from_numpy(arrays[port.name]) for port in layout.ports]

    with torch.no_grad():
        found = ModelProbe(model)(*tensors).evidence.losses

        row = model.preprocessing(named(layout, tensors))
        nll = model.likelihood.nll(model.reconstruct(row).params, row)
    wanted = torch.stack([nll[:, 0], nll[:, 1] + nll[:, 2], nll[:, 3], nll[:, 4]], dim=1)
    torch.testing.assert_close(found, wanted)


def test_rows_beyond_the_most_are_a_seeded_choice() -> None:
    layout = mixed_layout()
    probe, arrays = ModelProbe(_model(layout)), random_rows(layout, 300)

    all_rows, chosen, again, other = (
        collect_outputs(probe, arrays, most=most, seed=seed).total.numpy()
        for most, seed in ((300, 0), (50, 0), (50, 0), (50, 1))
    )

    assert len(chosen) == 50
    np.testing.assert_array_equal(chosen, again)
    assert set(chosen) <= set(all_rows)
    assert set(chosen) != set(other)


def test_many_rows_are_gathered_call_by_call_in_order() -> None:
    layout = image_layout(2, 2)
    probe, arrays = ModelProbe(_model(layout)), random_rows(layout, 9_000)

    gathered = collect_outputs(probe, arrays, most=9_000, seed=0)

    with torch.no_grad():
        at_once = probe(torch.from_numpy(arrays["image"])).evidence
    torch.testing.assert_close(gathered, at_once)
