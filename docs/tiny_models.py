"""Tiny tables, and models of each family that train on them in seconds, with fixed seeds."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aepipe.config.job import Model as Section
from aepipe.config.job import Train
from aepipe.layout import END, FIRST_VALUE, RARE, UNSEEN, Category, Layout, Number, Port, Series, Text
from aepipe.models import families
from aepipe.models.base import Model
from aepipe.models.latent_priors import fit_priors
from aepipe.models.layers.preprocessing import Row
from aepipe.training.loop import fit

EPOCHS, RATE, BATCH_ROWS = 100, 5e-3, 50
BINS, ITEMS, STEPS = 16, 12, 24

Floats = NDArray[np.float64]
Arrays = Mapping[str, NDArray[np.generic]]


class Table(NamedTuple):
    """Rows of one kind: their layout, training rows, and the group that each belongs to."""

    layout: Layout
    arrays: Arrays
    group: NDArray[np.int64]


def _numbers(rows: Floats) -> Layout:
    names = tuple("xyuvwt"[: rows.shape[1]])
    moments = zip(names, rows.mean(axis=0).tolist(), rows.std(axis=0).tolist(), strict=True)
    numbers = tuple(Number(name=name, column=at, mean=mean, std=std) for at, (name, mean, std) in enumerate(moments))
    return Layout(columns=names, numbers=numbers)


def _curve() -> Table:
    """Generate rows with y = x² and a little noise; the group is the sign of x."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1.5, 1.5, 300)
    rows = np.stack([x, x**2 + rng.normal(0, 0.05, len(x))], axis=1)
    return Table(_numbers(rows), {"num": rows.astype(np.float32)}, (x > 0).astype(np.int64))


def _clouds() -> tuple[Floats, NDArray[np.int64]]:
    rng = np.random.default_rng(0)
    group = np.arange(300) % 3
    centres = np.array([[0.0, 0.0], [4.0, 1.0], [1.0, 4.0]])
    return centres[group] + rng.normal(0, 0.5, (len(group), 2)), group


def _groups() -> Table:
    """Generate rows of three groups."""
    rows, group = _clouds()
    return Table(_numbers(rows), {"num": rows.astype(np.float32)}, group)


def _given_groups() -> Table:
    """Generate rows of three groups, with the group as a condition."""
    rows, group = _clouds()
    given = Category(name="group", column=0, size=FIRST_VALUE + 3)
    layout = _numbers(rows).model_copy(update={"conditions": ("group",), "given_categories": (given,)})
    codes = (FIRST_VALUE + group[:, None]).astype(np.int32)
    return Table(layout, {"num": rows.astype(np.float32), "given_cat": codes}, group)


def _factors() -> Table:
    """Generate six columns that mix two independent, uniform factors; the group is the tercile of the first factor."""
    rng = np.random.default_rng(0)
    factors = rng.uniform(-1, 1, (400, 2))
    rows = factors @ rng.normal(size=(2, 6)) + rng.normal(0, 0.05, (400, 6))
    return Table(_numbers(rows), {"num": rows.astype(np.float32)}, np.digitize(factors[:, 0], (-1 / 3, 1 / 3)))


def _cells() -> Table:
    """Return the rows of the curve as two columns of codes."""
    rows, group = _curve().arrays["num"], _curve().group
    low, high = rows.min(axis=0), rows.max(axis=0)
    codes = FIRST_VALUE + np.clip(((rows - low) / (high - low) * BINS).astype(np.int32), 0, BINS - 1)
    names = ("x", "y")
    categories = tuple(Category(name=name, column=at, size=FIRST_VALUE + BINS) for at, name in enumerate(names))
    return Table(Layout(columns=names, categories=categories), {"cat": codes}, group)


def _baskets() -> Table:
    """Generate lists of four to six items: each of three kinds of users prefers a third of the catalogue."""
    rng = np.random.default_rng(0)
    group, longest = np.arange(300) % 3, 6
    codes = np.full((len(group), longest), END, np.int32)
    for row, kind in enumerate(group):
        weights = np.where(np.arange(ITEMS) // (ITEMS // 3) == kind, 12.0, 1.0)
        size = rng.integers(3, 5)
        codes[row, :size] = END + 1 + np.sort(rng.choice(ITEMS, size, replace=False, p=weights / weights.sum()))
    count = (codes > END).sum(axis=1).astype(np.float32)[:, None]
    size = END + 1 + ITEMS
    layout = Layout(
        columns=("basket",),
        numbers=(Number(name="basket.count", column=0, mean=float(count.mean()), std=float(count.std())),),
        categories=tuple(
            Category(name=f"basket[{at}]", column=0, size=size, absent=(UNSEEN, RARE)) for at in range(longest)
        ),
        texts=(Text(name="basket", column=0, first=0, length=longest, size=size, is_set=True),),
    )
    return Table(layout, {"num": count, "cat": codes}, group)


def _windows() -> Table:
    """Generate windows of a wave with noise; the last one stands still for a third of its steps."""
    rng = np.random.default_rng(0)
    phase = rng.uniform(0, 2 * np.pi, 60)
    steps = np.sin(phase[:, None] + np.arange(STEPS) * 2 * np.pi / 12) + rng.normal(0, 0.1, (len(phase), STEPS))
    steps[-1, 9:18] = steps[-1, 9]
    number = Number(name="load", column=0, mean=0.0, std=float(steps.std()))
    series = Series(steps=STEPS, shortest=STEPS, longest=STEPS, numbers=(number,))
    arrays = {"steps": steps[:, :, None].astype(np.float32), "length": np.full(len(phase), STEPS, np.int32)}
    return Table(Layout(columns=("load",), series=series), arrays, np.zeros(len(phase), np.int64))


TABLES: Mapping[str, Callable[[], Table]] = {
    "curve": _curve,
    "groups": _groups,
    "given_groups": _given_groups,
    "factors": _factors,
    "cells": _cells,
    "baskets": _baskets,
    "windows": _windows,
}


@functools.cache
def table(name: str) -> Table:
    """Return a table by its name."""
    return TABLES[name]()


@functools.cache
def trained(family: str, name: str, **options: object) -> Model:
    """Return a model of a family on all rows of a table but the last; options: further keys of [model]."""
    layout, arrays, _ = table(name)
    model = families.build(layout, Section.model_validate({"family": family, **options}), 0)
    seen = {port: array[:-1] for port, array in arrays.items()}
    with torch.enable_grad():
        fit(model, seen, seen, Train(epochs=EPOCHS, patience=EPOCHS, batch_rows=BATCH_ROWS, learning_rate=RATE))
    return model.eval()


def encoded(model: Model, arrays: Arrays) -> Row:
    """Return rows as a network sees them."""
    row: Row = model.preprocessing({name: torch.from_numpy(np.asarray(array)) for name, array in arrays.items()})
    return row


def points(model: Model, params: Tensor) -> Floats:
    """Return the likeliest numbers of parameters of the likelihood."""
    return np.asarray(model.likelihood.expected(params)[0], np.float64)


def sampled(model: Model, arrays: Arrays, rows: int, *, given: Iterable[Tensor] = ()) -> Tensor:
    """Return the first tensor of sampled rows: latents of the fitted prior, then the sampler of the bundle."""
    generator = torch.Generator().manual_seed(0)

    def noise(ports: Iterable[Port]) -> list[Tensor]:
        draw = {"normal": torch.randn, "uniform": torch.rand}
        return [draw[each.noise]((rows, *each.row_shape), generator=generator) for each in ports if each.noise]

    prior = fit_priors(model, arrays, components=5)[0]
    sampler = next(part for part in model.parts() if part.name == "sampler")
    drawn = sampler.module(prior.module(*noise(prior.inputs)), *given, *noise(sampler.inputs))
    answer: Tensor = drawn if isinstance(drawn, Tensor) else drawn[0]
    return answer
