"""Models of a family: untrained ones on five numbers, in float64, and one trained on skewed rows."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import kstest

from aepipe.config.job import Model as Section
from aepipe.config.job import Train
from aepipe.layout import Layout, Number
from aepipe.models.base import Batch, Model, StepContext
from aepipe.models.families import build
from aepipe.models.layers.preprocessing import Row
from aepipe.training.loop import fit, measure
from tests.support.layouts import NUMBERS, random_rows

SKEWED = Layout(columns=tuple("abcdef"), numbers=tuple(Number(name=name, column=j) for j, name in enumerate("abcdef")))


def make_model(family: str, rows: int = 64, **keys: object) -> tuple[Model, Row]:
    """Build a model with two latents that has seen these rows, in eval mode; keys: more of [model]."""
    model = build(NUMBERS, Section.model_validate({"family": family, "latent": 2, **keys}), 0).double().eval()
    row = model.preprocessing({name: torch.from_numpy(array) for name, array in random_rows(NUMBERS, rows).items()})
    model.prepare(Batch(row, row))
    return model, row


def context(seed: int = 0) -> StepContext:
    """Return the context of a step at the end of training."""
    return StepContext(1.0, torch.Generator().manual_seed(seed))


def train_on_skewed_rows(family: str) -> tuple[float, float, dict[str, float]]:
    """Train on rows of two exponential variables; return the distance of the codes from N(0, I) before and after.

    The third value is the metrics of the model card, on rows that it did not learn from.
    """
    rows = skewed_rows(3_000)
    model = build(SKEWED, Section.model_validate({"family": family, "latent": 2}), 0)
    row = model.preprocessing({"num": torch.from_numpy(rows[2_000:])})
    model.prepare(Batch(row, row))
    before = _distance(model, row)
    fit(model, {"num": rows[:2_000]}, {"num": rows[2_000:]}, Train(epochs=40, patience=40))
    return before, _distance(model, row), measure(model, {"num": rows[2_000:]}, seed=0)


def skewed_rows(rows: int) -> NDArray[np.float32]:
    """Draw two exponential variables, rotated into six columns, with noise."""
    generator = np.random.default_rng(0)
    directions = np.linalg.qr(generator.standard_normal((len(SKEWED.columns), 2)))[0]
    skewed = generator.exponential(1.0, (rows, 2)) * (2.0, 1.0) @ directions.T
    return (skewed + 0.1 * generator.standard_normal(skewed.shape)).astype(np.float32)


def _distance(model: Model, row: Row) -> float:
    """Compute the Kolmogorov distance from N(0, 1), the largest of all latents."""
    with torch.no_grad():
        z = model.posterior(row).mean.numpy()
    return max(float(kstest(latent, "norm").statistic) for latent in z.T)
