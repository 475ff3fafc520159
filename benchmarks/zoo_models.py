"""Models as the benchmark sees them: trained within a budget, then asked for latents and pictures.

This is the one place that looks into aepipe's models; `benchmarks.zoo_peers` does the same for pythae's.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from aepipe.config.job import Model as Section
from aepipe.config.job import Train
from aepipe.export.export import export_parts
from aepipe.inference.session import Session
from aepipe.layout import FIRST_VALUE, Category, Image, Layout, Port
from aepipe.models import families
from aepipe.models.base import Batch, Model
from aepipe.models.latent_priors import fit_priors
from aepipe.models.layers.preprocessing import Row
from aepipe.training.history import Curve
from aepipe.training.loop import fit
from benchmarks.fashion import CLASSES, Labels, Pictures
from benchmarks.zoo_measures import Doubles, Floats, Gaussians, Integers

CPU_LIMIT_S = 300.0
"""limit of training per model"""

MIXTURE_COMPONENTS = 20
"""Defaults of a job."""

_ROWS_A_CALL = 1_000
_PLAIN = Layout(columns=("image",), image=Image(channels=1, height=28, width=28))
_GIVEN = Layout(
    columns=("image",),
    image=Image(channels=1, height=28, width=28),
    conditions=("label",),
    given_categories=(Category(name="label", column=0, size=FIRST_VALUE + CLASSES),),
)

Arrays = Mapping[str, NDArray[np.generic]]


class OverBudget(RuntimeError):
    """Training took more than its CPU seconds."""


class Cost(NamedTuple):
    """Cost of training."""

    cpu_s: float
    wall_s: float
    epochs: int
    model_cpu_s: float
    """CPU seconds without what is trained after the autoencoder, such as a prior over codes"""


class Subject(ABC):
    """A trained model. It takes images and returns pixels in [0, 1], (B, 784)."""

    cost: Cost

    @abstractmethod
    def posterior(self, pictures: Pictures) -> Gaussians:
        """Return latents, (B, Z)."""

    @abstractmethod
    def rebuilt(self, pictures: Pictures) -> Floats:
        """Reconstruct images without noise."""

    @abstractmethod
    def decoded(self, z: Doubles) -> Floats:
        """Decode latents (B, Z) to images."""

    @abstractmethod
    def negative_elbo(self, pictures: Pictures, seed: int) -> float:
        """Return the mean over images of -log p(x | a drawn z) + KL, in nats."""

    @abstractmethod
    def codes(self, pictures: Pictures) -> Integers:
        """Return (B, P) codes of a model whose latents are codes."""

    def from_normal(self, rows: int, seed: int) -> Floats:
        """Decode draws of N(0, I) to images."""
        latents = self.latents
        return self.decoded(np.random.default_rng(seed).standard_normal((rows, latents)))

    @property
    @abstractmethod
    def latents(self) -> int:
        """Return the number of numbers in a latent."""


class Ours(Subject):
    """A model of aepipe on images, with or without their labels as conditions."""

    def __init__(self, model: Model, curve: Curve, cost: Cost) -> None:
        self.model = model.eval()
        self.curve = curve
        self.cost = cost

    @property
    def latents(self) -> int:
        return len(self.model.latent.names)

    @torch.no_grad()
    def posterior(self, pictures: Pictures) -> Gaussians:
        found = [self.model.posterior(row) for row in self._rows(pictures)]
        mean = np.concatenate([each.mean.double().numpy() for each in found])
        variances = [each.log_var.double().numpy() for each in found if each.log_var is not None]
        return Gaussians(mean, np.concatenate(variances) if variances else None)

    @torch.no_grad()
    def codes(self, pictures: Pictures) -> Integers:
        return np.concatenate([self.model.posterior(row).mean.long().numpy() for row in self._rows(pictures)])

    @torch.no_grad()
    def rebuilt(self, pictures: Pictures) -> Floats:
        return self._pictures([self.model.reconstruct(row).params for row in self._rows(pictures)])

    def decoded(self, z: Doubles | Integers) -> Floats:
        return self.decoded_given(z, None)

    @torch.no_grad()
    def decoded_given(self, z: Doubles | Integers, labels: Labels | None) -> Floats:
        """Decode latents to images, of these classes if the model takes conditions."""
        whole = np.issubdtype(z.dtype, np.integer)
        latents = torch.from_numpy(z).long() if whole else torch.from_numpy(z).float()
        given = self._given(labels, len(latents))
        pairs = zip(torch.split(latents, _ROWS_A_CALL), torch.split(given, _ROWS_A_CALL), strict=True)
        return self._pictures([self.model.decode(*pair) for pair in pairs])

    @torch.no_grad()
    def from_normal(self, rows: int, seed: int) -> Floats:
        return self.from_prior(rows, seed)

    @torch.no_grad()
    def from_prior(self, rows: int, seed: int) -> Floats:
        """Draw images from the prior of the bundle: N(0, I), or one over codes."""
        prior = self.model.prior()
        if prior is None:
            raise ValueError(f"{type(self.model).__name__} has no prior")
        return self.decoded(_drawn(prior, prior.noise, rows, seed))

    def from_mixture(self, train: Pictures, rows: int, seed: int) -> Floats:
        """Draw images from the mixture of Gaussians fitted on the latents of training images."""
        part = fit_priors(self.model, self.arrays(train), components=MIXTURE_COMPONENTS, seed=seed)[0]
        return self.decoded(_drawn(part.module, part.inputs, rows, seed))

    def negative_elbo(self, pictures: Pictures, seed: int) -> float:
        return -self.facts(pictures, seed)["elbo"]

    @torch.no_grad()
    def facts(self, pictures: Pictures, seed: int) -> Mapping[str, float]:
        """Return what the model card would state, measured on these images."""
        row = self._row(pictures)
        return self.model.card_metrics(Batch(row, row), torch.Generator().manual_seed(seed))

    def arrays(self, pictures: Pictures) -> Arrays:
        """Return the row tensors that this model takes, by name."""
        return _arrays(pictures, self.model.layout)

    def _rows(self, pictures: Pictures) -> list[Row]:
        starts = range(0, len(pictures.images), _ROWS_A_CALL)
        return [self._row(pictures.part(begin, begin + _ROWS_A_CALL)) for begin in starts]

    def _row(self, pictures: Pictures) -> Row:
        arrays = self.arrays(pictures)
        row: Row = self.model.preprocessing({name: torch.from_numpy(array) for name, array in arrays.items()})
        return row

    def _given(self, labels: Labels | None, rows: int) -> Tensor:
        if labels is None:
            return torch.zeros(rows, 0)
        vector: Tensor = self.model.preprocessing.given({"given_cat": torch.from_numpy(_codes(labels))})
        return vector

    def _pictures(self, params: list[Tensor]) -> Floats:
        levels = torch.cat([self.model.likelihood.expected(each)[0] for each in params])
        return levels.flatten(1).numpy().astype(np.float32) / 255


def train_ours(
    train: Pictures,
    dev: Pictures,
    section: Mapping[str, object],
    *,
    epochs: int,
    batch_rows: int,
    seed: int,
    patience: int = 20,
) -> Ours:
    """Train [model] of a job on these images, with their labels if the family takes conditions. Raises OverBudget."""
    asked = Section.model_validate(dict(section))
    layout = _GIVEN if families.find(asked.family).takes_conditions else _PLAIN
    model = families.build(layout, asked, seed)
    options = Train(epochs=epochs, batch_rows=batch_rows, seed=seed, patience=patience)
    cpu, wall = time.process_time(), time.perf_counter()

    def watch(what: str, share: float) -> None:
        if time.process_time() - cpu > CPU_LIMIT_S:
            raise OverBudget(f"more than {CPU_LIMIT_S:.0f} CPU s after {share:.0%} of {what}")

    curve = fit(model, _arrays(train, layout), _arrays(dev, layout), options, progress=watch)
    cpu_s = time.process_time() - cpu
    seconds = sum(epoch.seconds for epoch in curve.epochs)
    later = sum(epoch.seconds for epoch in curve.epochs if epoch.phase)
    model_cpu_s = cpu_s * (1 - later / seconds) if seconds else cpu_s
    cost = Cost(cpu_s, time.perf_counter() - wall, len(curve.epochs), model_cpu_s)
    return Ours(model, curve, cost)


class _ToGrid(nn.Module):
    """Pixels in [0, 1] (B, 1, 28, 28) to vectors on a grid (B, D, H, W), by the encoder of our model of codes."""

    def __init__(self, model: Model, encoder: nn.Module, height: int, width: int) -> None:
        super().__init__()
        self.encoder, self.height, self.width = encoder, height, width
        self.empty = model.preprocessing({"image": torch.zeros(1, 1, 28, 28, dtype=torch.uint8)})

    def forward(self, pixels: Tensor) -> Tensor:
        vectors = self.encoder(self.empty._replace(dense=pixels, observed=torch.ones_like(pixels)))
        return torch.unflatten(vectors.transpose(1, 2), 2, (self.height, self.width)).contiguous()


class _FromGrid(nn.Module):
    """Vectors on a grid (B, D, H, W) to pixels (B, 784), by the decoder of our model of codes."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, grid: Tensor) -> Tensor:
        answer: Tensor = self.decoder(grid.flatten(2).transpose(1, 2))
        return answer


def grid_networks(section: Mapping[str, object], seed: int) -> tuple[nn.Module, nn.Module]:
    """Return encoder and decoder of aepipe's vq_vae, untrained, for a peer with the same networks."""
    model = families.build(_PLAIN, Section.model_validate(dict(section)), seed)
    encoder, decoder = model.encoder, model.decoder
    grid: Any = model.grid
    assert isinstance(encoder, nn.Module)
    assert isinstance(decoder, nn.Module)
    return _ToGrid(model, encoder, grid.height, grid.width), _FromGrid(decoder)


class ExportedEncoder:
    """The ONNX encoder of a model, on the CPU: rows to features."""

    def __init__(self, subject: Ours, pictures: Pictures) -> None:
        encoder = next(part for part in subject.model.parts() if part.name == "encoder")
        self._subject = subject
        self._output = encoder.outputs[-1].name
        self._session = Session(export_parts([encoder], subject.arrays(pictures.part(0, 8)))[0].onnx, device="cpu")

    def __call__(self, pictures: Pictures) -> Doubles:
        """Return features of images, (B, Z)."""
        return self._session.run(self._subject.arrays(pictures))[self._output].astype(np.float64)


def there(family: str) -> bool:
    """Return True if aepipe has this family, or a preset of that name."""
    return family in families.names() or family in families.PRESETS


def _arrays(pictures: Pictures, layout: Layout) -> Arrays:
    arrays: dict[str, NDArray[np.generic]] = {"image": np.ascontiguousarray(pictures.images)}
    if layout.given:
        arrays["given_cat"] = _codes(pictures.labels)
    return arrays


def _codes(labels: Labels) -> NDArray[np.int32]:
    return (FIRST_VALUE + labels[:, None]).astype(np.int32)


def _drawn(prior: nn.Module, ports: tuple[Port, ...], rows: int, seed: int) -> Doubles | Integers:
    """Draw latents of a prior that takes noise, in blocks, since codes are drawn one after the other."""
    generator = np.random.default_rng(seed)
    blocks = []
    with torch.no_grad():
        for begin in range(0, rows, _ROWS_A_CALL):
            count = min(_ROWS_A_CALL, rows - begin)
            drawn = prior(*(torch.from_numpy(_noise(port, count, generator)) for port in ports))
            blocks.append(drawn.numpy())
    latents: Doubles | Integers = np.concatenate(blocks)
    return latents


def _noise(port: Port, rows: int, generator: np.random.Generator) -> NDArray[np.float32]:
    shape = (rows, *port.row_shape)
    drawn = generator.standard_normal(shape) if port.noise == "normal" else generator.random(shape)
    return drawn.astype(np.float32)
