"""The usual ONNX files of a family: rows to latents, latents to rows, latents and noise to a sampled row."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from aepipe.layout import LATENT_TYPES, RANKER, TEXT_SAMPLER, Layout, Port
from aepipe.models.base import Model, Part, Posterior
from aepipe.models.layers.items_likelihood import ItemsLikelihood
from aepipe.models.layers.preprocessing import Row
from aepipe.models.layers.text_likelihood import TextLikelihood
from aepipe.models.layers.token_choice import TOKEN_CHOICE, Truncation


def standard_parts(model: Model) -> tuple[Part, ...]:
    """Build the encoder (row -> z), decoder (z -> most probable row) and sampler (z, noise -> sampled row).

    Each also takes the conditions, if the layout has any.
    """
    layout, z = model.layout, latent_port(model)
    atol = 1.0 if layout.rebuilt is not None else 1e-4  # one grey level: a half may round either way
    name, numbers = ("num", layout.numbers) if layout.series is None else ("steps", layout.series.numbers)
    spreads = tuple(number.scale if number.transform == "log" else number.std for number in numbers)
    noise, scales = model.likelihood.noise, {name: spreads} if spreads else {}  # in source units
    given, rebuilt = layout.given_ports, layout.rebuilt_ports
    chained = ("cat",) if layout.texts else ()  # a token depends on the tokens before it
    tokens = max(1, sum(text.length for text in layout.texts))
    rows = partial(Part, outputs=rebuilt, atol=atol, scales=scales, chained=chained, draws=tokens)
    parts = (
        Part("encoder", Encoder(model), layout.encoded_ports, latent_ports(model)),
        rows("decoder", Decoder(model), (z, *given)),
        rows("sampler", Sampler(model), (z, *given, *noise)),
    )
    if isinstance(model.likelihood, ItemsLikelihood):
        return (*parts, Part(RANKER, Ranker(model), layout.encoded_ports, model.likelihood.ranked_ports))
    if not isinstance(model.likelihood, TextLikelihood):
        return parts
    inputs = (z, *given, *noise, *TOKEN_CHOICE)
    return (*parts, rows(TEXT_SAMPLER, TokenSampler(model), inputs, examples=_choice_examples()))


def latent_port(model: Model) -> Port:
    """Return the port of `z`, the input of the decoder."""
    latent = model.latent
    return Port("z", LATENT_TYPES[latent.kind], (len(latent.names),))


def latent_ports(model: Model) -> tuple[Port, ...]:
    """Return the ports of the encoder's outputs: `z`, and `pooled` if the family summarises its latents."""
    pooled = model.latent.pooled
    return (latent_port(model), *((Port("pooled", "float32", (len(pooled),)),) if pooled else ()))


def latent_tensors(model: Model, posterior: Posterior) -> tuple[Tensor, ...]:
    """Return the tensors of `latent_ports`."""
    z = posterior.mean.to(_TYPES[model.latent.kind])
    return (z, posterior.pooled) if model.latent.pooled else (z,)


def feature_ports(model: Model) -> tuple[Port, ...]:
    """Return the ports among `latent_ports` that are written as features."""
    ports = latent_ports(model)
    return ports if model.latent.is_written else ports[1:]


def metric_latents(posterior: Posterior) -> Tensor:
    """Return the latents that distances are computed on, (B, Z or P) real: the pooled ones if any, else all."""
    return posterior.pooled if posterior.pooled.shape[1] else posterior.mean.to(posterior.pooled.dtype)


def named(layout: Layout, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    """Map port names to row tensors, the input of `Preprocessing`."""
    return _by_name(layout.ports, tensors)


def preprocessed(model: Model, tensors: Sequence[Tensor]) -> Row:
    """Preprocess tensors in the order of `encoded_ports` into rows."""
    row: Row = model.preprocessing(_by_name(model.layout.encoded_ports, tensors))
    return row


def _by_name(ports: Sequence[Port], tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    return {port.name: tensor for port, tensor in zip(ports, tensors, strict=True)}


class Encoder(nn.Module):
    """Encoded row tensors to latents without noise (B, Z), and pooled ones (B, P)."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, *row: Tensor) -> tuple[Tensor, ...]:
        return latent_tensors(self.model, self.model.posterior(preprocessed(self.model, row)))


class Decoder(nn.Module):
    """Latents (B, Z) and conditions to the most probable row, in source units."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, z: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        return self.model.likelihood.expected(_decoded(self.model, z, given))


class Sampler(nn.Module):
    """Latents (B, Z), conditions and the likelihood's noise to a sampled row, in source units."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, z: Tensor, *given_and_noise: Tensor) -> tuple[Tensor, ...]:
        given = len(self.model.layout.given_ports)
        params = _decoded(self.model, z, given_and_noise[:given])
        return self.model.likelihood.draw(params, *given_and_noise[given:])


class Ranker(nn.Module):
    """Encoded row tensors to the likeliest items that a row does not have, and their log-probabilities."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, *row: Tensor) -> tuple[Tensor, ...]:
        likelihood, seen = self.model.likelihood, preprocessed(self.model, row)
        assert isinstance(likelihood, ItemsLikelihood)
        return likelihood.rank(self.model.reconstruct(seen).params, seen)


class TokenSampler(nn.Module):
    """Inputs of `Sampler`, then of `TOKEN_CHOICE`, to a sampled row; the truncation applies to the tokens alone."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, z: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        likelihood, given = self.model.likelihood, len(self.model.layout.given_ports)
        assert isinstance(likelihood, TextLikelihood)
        noise, choice = inputs[given : -len(TOKEN_CHOICE)], inputs[-len(TOKEN_CHOICE) :]
        return likelihood.draw_truncated(_decoded(self.model, z, inputs[:given]), Truncation(*choice), *noise)


def _choice_examples() -> dict[str, NDArray[np.generic]]:
    """Return values of `TOKEN_CHOICE` for the parity check, from sharp to flat and from one token to all."""
    rows = np.arange(512)[:, None]
    return {
        "temperature": (0.5 + rows % 4 / 2).astype(np.float32),
        "top_k": (1 + rows % 50).astype(np.int32),
        "top_p": (1 - rows % 3 / 4).astype(np.float32),
    }


def _decoded(model: Model, z: Tensor, given: Sequence[Tensor]) -> Tensor:
    if model.latent.kind == "code":
        z = z.long()
    elif model.latent.kind == "binary":
        z = z.to(model.preprocessing.numbers.mean.dtype)
    return model.decode(z, conditions(model, given, like=z))


def conditions(model: Model, given: Sequence[Tensor], *, like: Tensor) -> Tensor:
    """Concatenate tensors of `given_ports` to (B, G); without conditions, return (B, 0) with as many rows as `like`."""
    if not given:
        return model.preprocessing.numbers.mean.new_zeros((like.shape[0], 0))
    vector: Tensor = model.preprocessing.given(_by_name(model.layout.given_ports, given))
    return vector


_TYPES = {"real": torch.float32, "code": torch.int32, "binary": torch.int8}
