"""One layout of each kind that families meet, and random rows of them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aepipe.layout import END, MANY_CODES, MISSING, RARE, UNSEEN, Category, Image, Layout, Number, Series, Text
from aepipe.models import backbone as backbones
from aepipe.models.families import find

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
        Category(name="town", column=2, size=MANY_CODES + 6),
    ),
)
CODES = Layout(columns=("shop", "kind"), categories=CATEGORIES.categories[:2])
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
SERIES = Layout(
    columns=("pulse",),
    series=Series(
        steps=9,
        shortest=2,
        longest=9,
        numbers=(
            Number(name="pulse[0]", column=0, mean=3.0, std=2.0),
            Number(name="pulse[1]", column=0, mean=-1.0, std=0.5, may_be_missing=True),
        ),
    ),
)

TEXT = Layout(
    columns=("amount", "line", "kind"),
    numbers=(Number(name="amount", column=0, mean=50.0, std=20.0, may_be_missing=True),),
    categories=(
        *(Category(name=f"line[{at}]", column=1, size=12, absent=(UNSEEN, RARE)) for at in range(6)),
        Category(name="kind", column=2, size=9),
    ),
    texts=(Text(name="line", column=1, first=0, length=6, size=12),),
)

ITEMS = Layout(
    columns=("age", "basket"),
    numbers=(
        Number(name="age", column=0, mean=40.0, std=10.0),
        Number(name="basket.count", column=1, mean=1.5, std=0.5, transform="log"),
    ),
    categories=tuple(Category(name=f"basket[{at}]", column=1, size=24, absent=(UNSEEN, RARE)) for at in range(6)),
    texts=(Text(name="basket", column=1, first=0, length=6, size=24, is_set=True),),
)

LAYOUTS = {
    "numbers": NUMBERS,
    "categories": CATEGORIES,
    "mixed": MIXED,
    "grey": GREY,
    "colour": COLOUR,
    "series": SERIES,
    "text": TEXT,
    "items": ITEMS,
}


def _random_sets(text: Text, rows: int, rng: np.random.Generator) -> NDArray[Any]:
    """Draw rising codes of zero to `length` items per row, then END."""
    codes = np.sort(rng.permuted(np.tile(np.arange(END + 1, text.size), (rows, 1)), axis=1)[:, : text.length], axis=1)
    codes[np.arange(text.length) >= rng.integers(0, text.length + 1, (rows, 1))] = END
    return codes


def with_conditions(layout: Layout) -> Layout:
    """Add two conditions to a layout: a weight and a grade."""
    return layout.model_copy(
        update={
            "conditions": ("weight", "grade"),
            "given_numbers": (Number(name="weight", column=0, mean=2.0, std=3.0, may_be_missing=True),),
            "given_categories": (Category(name="grade", column=1, size=6),),
        }
    )


def layout_for(family: str) -> Layout:
    """Return a layout for the family: mixed columns if possible, else codes or a small image; conditions if needed."""
    found = find(family)
    if found.takes_codes:
        return CODES
    kinds = {kind for backbone in found.backbones for kind in backbones.find(backbone).kinds}
    if family == "mult_vae":
        return ITEMS
    layout = MIXED if not found.backbones or "table" in kinds else GREY
    return with_conditions(layout) if found.takes_conditions else layout


def random_rows(layout: Layout, rows: int, seed: int = 0) -> Arrays:
    """Draw encoded rows: numbers around the layout's means, some missing where allowed; codes of every kind."""
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
        for text in layout.texts:
            if text.is_set:
                cat[:, text.first : text.first + text.length] = _random_sets(text, rows, rng)
        arrays["cat"] = cat.astype(np.int32)
    if layout.series is not None:
        arrays |= _random_windows(layout.series, rows, rng)
    if layout.image is not None:
        shape = (rows, layout.image.channels, layout.image.height, layout.image.width)
        arrays["image"] = rng.integers(0, layout.image.top, shape, dtype=np.uint8, endpoint=True)
    if layout.given:
        weight = 2 + 3 * rng.standard_normal((rows, 1))
        weight[rng.random(rows) < 0.1] = np.nan
        arrays["given_num"] = weight.astype(np.float32)
        arrays["given_cat"] = rng.integers(MISSING, 6, (rows, 1)).astype(np.int32)
    return arrays


def _random_windows(series: Series, rows: int, rng: np.random.Generator) -> Arrays:
    """Draw windows of all allowed lengths, NaN after their ends and at a tenth of what may be missing."""
    means, stds = ([getattr(number, name) for number in series.numbers] for name in ("mean", "std"))
    steps = np.asarray(means) + np.asarray(stds) * rng.standard_normal((rows, series.steps, series.channels))
    may = np.asarray([number.may_be_missing for number in series.numbers])
    steps[(rng.random(steps.shape) < 0.1) & may] = np.nan
    length = rng.integers(series.shortest, series.longest, rows, endpoint=True)
    steps[np.arange(series.steps) >= length[:, None]] = np.nan
    return {"steps": steps.astype(np.float32), "length": length.astype(np.int32)}
