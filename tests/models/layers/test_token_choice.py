"""Truncated draws of tokens against torch's softmax of filtered logits, in torch and in the exported graph."""

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import Tensor

from aepipe.config.job import Model as Section
from aepipe.export.export import export_parts
from aepipe.layout import END, MISSING, TEXT_SAMPLER
from aepipe.models.export_parts import standard_parts
from aepipe.models.families import build
from aepipe.models.layers.text_likelihood import TextLikelihood
from aepipe.models.layers.token_choice import Truncation, draw_truncated
from tests.support.layouts import LAYOUTS, random_rows

CHOICES = [(1.0, 12, 1.0), (0.5, 12, 1.0), (2.0, 3, 1.0), (1.0, 12, 0.6), (1.5, 5, 0.7), (0.3, 1, 1.0), (1.0, 2, 0.001)]


def filtered_softmax(logits: Tensor, temperature: float, top_k: int, top_p: float) -> Tensor:
    """Compute probabilities (K,) by masking logits one by one."""
    scaled = logits / temperature
    kept = set(sorted(range(len(scaled)), key=lambda at: -float(scaled[at]))[:top_k])
    masked = torch.tensor([float(value) if at in kept else -torch.inf for at, value in enumerate(scaled)])
    mass, nucleus = 0.0, set()
    for at in sorted(kept, key=lambda at: -float(scaled[at])):
        if mass >= top_p:
            break
        nucleus.add(at)
        mass += float(masked.softmax(0)[at])
    return torch.tensor([float(value) if at in nucleus else -torch.inf for at, value in enumerate(masked)]).softmax(0)


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), CHOICES)
def test_draws_have_the_probabilities_of_the_filtered_softmax(temperature: float, top_k: int, top_p: float) -> None:
    logits, rows = torch.randn(12, dtype=torch.float64, generator=torch.Generator().manual_seed(4)), 50_000
    uniform = (torch.arange(rows, dtype=torch.float64) + 0.5) / rows
    values = (torch.full((rows, 1), value) for value in (temperature, top_k, top_p))

    drawn = draw_truncated(logits.expand(rows, -1), uniform, Truncation(*values))

    shares = torch.bincount(drawn, minlength=12) / rows
    torch.testing.assert_close(shares, filtered_softmax(logits, temperature, top_k, top_p), atol=1e-4, rtol=0)


@pytest.mark.slow
def test_the_exported_graph_draws_first_tokens_from_the_filtered_softmax_and_other_columns_as_the_model() -> None:
    model = build(LAYOUTS["text"], Section(family="vae"), 0).eval()
    parts = standard_parts(model)
    likelihood = model.likelihood
    assert isinstance(likelihood, TextLikelihood)
    decoder = likelihood.decoders[0]
    with torch.no_grad():
        decoder.head.weight.mul_(6)  # type: ignore[union-attr,operator]
        decoder.bias.copy_(torch.linspace(-2, 2, 12))  # type: ignore[union-attr,operator]
    exported = {each.part: each for each in export_parts(parts, random_rows(LAYOUTS["text"], 64))}
    session, plain = (ort.InferenceSession(exported[name].onnx) for name in (TEXT_SAMPLER, "sampler"))
    rows, rng = 20_000, np.random.default_rng(0)
    z = np.repeat(rng.standard_normal((1, len(model.latent.names))), rows, 0).astype(np.float32)
    noise = {
        port.name: (rng.standard_normal if port.noise == "normal" else rng.random)((rows, *port.row_shape)).astype(
            np.float32
        )
        for port in likelihood.noise
    }
    every = torch.arange(12).unsqueeze(1).expand(12, 6)
    with torch.no_grad():
        ((_, _, context),) = likelihood._texts(model.decode(torch.from_numpy(z[:12]), torch.zeros(12, 0)))
        logits = -decoder.nll(context, every, every)[:, 0] + likelihood.decoders[0].drawable[0]  # type: ignore[union-attr,operator,index]

    for temperature, top_k, top_p in ((1.0, 12, 1.0), (0.7, 4, 0.8)):
        feeds = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        given = {
            name: np.full((rows, 1), value, np.int32 if name == "top_k" else np.float32)
            for name, value in feeds.items()
        }
        num, cat = session.run(["num", "cat"], {"z": z, **noise, **given})
        as_modelled = plain.run(["num", "cat"], {"z": z, **noise})

        shares = np.bincount(cat[:, 0], minlength=12) / rows
        np.testing.assert_allclose(shares, filtered_softmax(logits, temperature, top_k, top_p), atol=0.012)
        np.testing.assert_array_equal(num, as_modelled[0])
        np.testing.assert_array_equal(cat[:, 6], as_modelled[1][:, 6])
        for codes in cat[:200, :6].tolist():
            ends = [at for at, code in enumerate(codes) if code in (END, MISSING)]
            assert all(code == END for code in codes[ends[0] + 1 :]) if ends else True
