"""Small models on real tables, for the tests of heads, scorer and export."""

from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn import datasets

from aepipe.config import job as config
from aepipe.heads.base import ScoringInputs
from aepipe.layout import Category, Image, Layout, Number
from aepipe.models import families
from aepipe.models.base import Model
from aepipe.training.loop import fit
from tests.support import layouts

Rows = dict[str, NDArray[Any]]


def table_layout(numbers: NDArray[Any]) -> Layout:
    """Return a layout of linear numbers with the statistics of these rows (B, N)."""
    names = tuple(f"c{index}" for index in range(numbers.shape[1]))
    moments = zip(names, numbers.mean(axis=0), numbers.std(axis=0), strict=True)
    features = [Number(name=name, column=j, mean=m, std=s or 1.0) for j, (name, m, s) in enumerate(moments)]
    return Layout(columns=names, numbers=tuple(features))


def mixed_layout() -> Layout:
    """Return a layout of three numbers, one logarithmic and at times missing, two from one column; two categories."""
    return Layout(
        columns=("amount", "opened", "country", "shop"),
        numbers=(
            Number(name="amount", column=0, transform="log", may_be_missing=True),
            Number(name="opened.week", column=1),
            Number(name="opened.time", column=1),
        ),
        categories=(
            Category(name="country", column=2, size=40),
            Category(name="shop", column=3, size=7),
        ),
    )


def image_layout(height: int = 8, width: int = 8, channels: int = 1, top: int = 16) -> Layout:
    """Return the layout of images of a shape."""
    return Layout(columns=("image",), image=Image(channels=channels, height=height, width=width, top=top))


def random_rows(layout: Layout, rows: int, seed: int = 0) -> Rows:
    """Draw random rows that are valid under the layout."""
    generator = np.random.default_rng(seed)
    if layout.given:
        return layouts.random_rows(layout, rows, seed)
    if layout.image is not None:
        (port,) = layout.ports
        return {"image": generator.integers(0, layout.image.top + 1, (rows, *port.row_shape)).astype(np.uint8)}
    arrays: Rows = {}
    if layout.numbers:
        num = generator.normal(size=(rows, len(layout.numbers))).astype(np.float32)
        may = np.array([number.may_be_missing for number in layout.numbers])
        num[(generator.random(num.shape) < 0.1) & may] = np.nan
        arrays["num"] = num
    if layout.categories:
        codes = [generator.integers(0, category.size, rows) for category in layout.categories]
        arrays["cat"] = np.stack(codes, axis=1).astype(np.int32)
    return arrays


def train(layout: Layout, rows: Rows, dev: Rows, *, epochs: int = 30, **options: object) -> Model:
    """Train a model of `family` and other keys of [model] for a few seconds at most."""
    model = families.build(layout, config.Model.model_validate(options), seed=0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads of networks this small wait more than they compute
    try:
        fit(model, rows, dev, config.Train(epochs=epochs, batch_rows=64))
    finally:
        torch.set_num_threads(threads)
    return model


@cache
def cells() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return benign rows for training, and other benign rows; 30 numbers each."""
    table = datasets.load_breast_cancer()
    benign = table.data[table.target == 1].astype(np.float32)
    order = np.random.default_rng(0).permutation(len(benign))
    return benign[order[:250]], benign[order[250:]]


def scoring_inputs(
    rows: int, *, residuals: int = 6, latents: int = 3, categories: int = 0, seed: int = 0
) -> ScoringInputs:
    """Draw scoring inputs that are correlated and differ in scale, and the rarity of independent categories."""
    generator = np.random.default_rng(seed)
    width = residuals + latents
    mixing = np.eye(width) + np.random.default_rng(1).normal(size=(width, width)) / (2 * np.sqrt(width))
    points = generator.normal(size=(rows, width)) @ mixing * np.linspace(0.3, 3, width)
    residual, z = (torch.from_numpy(half.astype(np.float32)) for half in (points[:, :residuals], points[:, residuals:]))
    losses = residual.square() / 2
    row = torch.from_numpy((points @ mixing.T)[:, :residuals].astype(np.float32))
    summary = torch.stack([losses.mean(1), losses.amax(1), losses.amax(1)], 1)
    shares = np.array([0.6, 0.3, 0.08, 0.02])
    rarity = torch.from_numpy(-np.log(generator.choice(shares, (rows, categories), p=shares)).astype(np.float32))
    return ScoringInputs(losses, residual, z, z.square().sum(1) / 2, losses.sum(1), row, summary, rarity)
