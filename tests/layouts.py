"""One layout of each kind that families meet, and random rows of them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aepipe.layout import MISSING, RARE, UNSEEN, Category, Image, Layout, Number

Arrays = dict[str, NDArray[Any]]

NUMBERS = Layout(
    columns=("a", "b", "c", "d", "e"),
    numbers=tuple(
        Number(name=name, column=j, mean=float(j), std=1.0 + j, transform="log" if name == "d" else "linear", scale=2.0)
        for j, name in enumerate("abcde")
    ),
)
CATEGORIES = Layout(
    columns=("shop", "kind", "town"),
    categories=(
        Category(name="shop", column=0, size=5),
        Category(name="kind", column=1, size=40),
        Category(name="town", column=2, size=7),
    ),
)
MIXED = Layout(
    columns=("amount", "age", "kind", "paid"),
    numbers=(
        Number(name="amount", column=0, mean=50.0, std=20.0, may_be_missing=True),
        Number(name="age", column=1, mean=1.0, std=2.0),
    ),
    categories=(Category(name="kind", column=2, size=9), Category(name="paid", column=3, size=5)),
)
GREY = Layout(columns=("scan",), image=Image(channels=1, height=8, width=8, top=16))
COLOUR = Layout(columns=("photo",), image=Image(channels=3, height=7, width=13))

LAYOUTS = {"numbers": NUMBERS, "categories": CATEGORIES, "mixed": MIXED, "grey": GREY, "colour": COLOUR}


def random_rows(layout: Layout, rows: int, seed: int = 0) -> Arrays:
    """Encoded rows: numbers around the layout's own means, a tenth missing where they may be; codes of every kind."""
    rng = np.random.default_rng(seed)
    arrays: Arrays = {}
    if layout.numbers:
        means = np.asarray([number.center + number.scale * number.mean for number in layout.numbers])
        stds = np.asarray([number.scale * number.std for number in layout.numbers])
        num = means + stds * rng.standard_normal((rows, len(means)))
        may = np.asarray([number.may_be_missing for number in layout.numbers])
        num[(rng.random(num.shape) < 0.1) & may] = np.nan
        arrays["num"] = num.astype(np.float32)
    if layout.categories:
        sizes = [category.size for category in layout.categories]
        cat = np.stack([rng.integers(RARE, size, rows) for size in sizes], axis=1)
        cat[rng.random(cat.shape) < 0.05] = MISSING
        cat[rng.random(cat.shape) < 0.02] = UNSEEN
        arrays["cat"] = cat.astype(np.int32)
    if layout.image is not None:
        shape = (rows, layout.image.channels, layout.image.height, layout.image.width)
        arrays["image"] = rng.integers(0, layout.image.top, shape, dtype=np.uint8, endpoint=True)
    return arrays
