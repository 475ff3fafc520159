"""The usual three ONNX files of a family: rows to latents, latents to rows, latents and noise to a drawn row."""

from collections.abc import Sequence

from torch import Tensor, nn

from aepipe.family import Model, Part
from aepipe.layout import Layout, Port


def standard_parts(model: Model) -> tuple[Part, ...]:
    """Encoder (row ports -> z), decoder (z -> the likeliest row) and sampler (z, noise -> a drawn row)."""
    rows, z = model.layout.ports, latent_port(model)
    atol = 1.0 if model.layout.image is not None else 1e-4  # one grey level: a half may round either way
    return (
        Part("encoder", Encoder(model), rows, (z,)),
        Part("decoder", Decoder(model), (z,), rows, atol=atol),
        Part("sampler", Sampler(model), (z, *model.likelihood.noise), rows, atol=atol),
    )


def latent_port(model: Model) -> Port:
    """The tensor of latents, `z`."""
    return Port("z", "float32", (len(model.latent.names),))


def named(layout: Layout, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    """Row tensors under the names of their ports, as `Frontend` takes them."""
    return {port.name: tensor for port, tensor in zip(layout.ports, tensors, strict=True)}


class Encoder(nn.Module):
    """Row tensors, in the order of `layout.ports`, to latents without noise (B, Z)."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, *row: Tensor) -> Tensor:
        return self.model.posterior(self.model.frontend(named(self.model.layout, row))).mean


class Decoder(nn.Module):
    """Latents (B, Z) to the likeliest row, in source units."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, z: Tensor) -> tuple[Tensor, ...]:
        return self.model.likelihood.expected(self.model.decode(z))


class Sampler(nn.Module):
    """Latents (B, Z) and the likelihood's noise to a drawn row, in source units."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, z: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        return self.model.likelihood.draw(self.model.decode(z), *noise)
