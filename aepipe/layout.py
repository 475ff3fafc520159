"""The shape of one encoded row: which tensors it is made of, and what a number in them means.

Nothing here knows Arrow, torch or onnxruntime: the layout is what the host half and the graph half of the encoding
agree on.
"""

from typing import Literal, NamedTuple

from pydantic import Field

from aepipe.frozen import FrozenModel

MISSING, UNSEEN, RARE, FIRST_VALUE = 0, 1, 2, 3
"""Codes of a category, everywhere: 0 missing, 1 unseen in training, 2 rare, 3 ... its values."""

MANY_CODES = 1_024
"""A column of more codes than this has two levels of them on the way out."""

Noise = Literal["normal", "uniform"]
LatentKind = Literal["real", "code", "binary"]
LATENT_TYPES: dict[LatentKind, str] = {"real": "float32", "code": "int32", "binary": "int8"}
"""numpy types of latents in graphs and in Parquet"""


OPENING, COMPLETER = "opening", "completer"
"""Parts that draw rows of which some codes are forced, one after the other; of a family that has them."""
FREE = -1
"""In the place of a forced code: this one is drawn."""


class Port(NamedTuple):
    """One tensor of an ONNX graph: name, numpy dtype, and the shape of one row (the batch axis comes first, free)."""

    name: str
    dtype: str
    row_shape: tuple[int, ...]
    noise: Noise | None = None


class Number(FrozenModel):
    """One numeric feature of a row, `num[:, j]`: the source's value less a float64 offset that the host subtracted."""

    name: str = Field(description="column, or column and part, such as `opened.week`")
    column: int = Field(ge=0, description="index of the source column in `Layout.columns`")
    transform: Literal["linear", "log"] = Field("linear", description="log: sign(v) log1p(|v|) of the scaled value")
    center: float = Field(0.0, description="subtracted in the graph")
    scale: float = Field(1.0, gt=0, description="divided by in the graph, before the transform")
    mean: float = Field(0.0, description="of the transformed value over the training rows")
    std: float = Field(1.0, gt=0, description="of the transformed value over the training rows")
    may_be_missing: bool = Field(False, description="training had missing values: modelled by a flag of its own")
    low: float | None = Field(None, description="least value seen in training, offset subtracted")
    high: float | None = Field(None, description="greatest value seen in training, offset subtracted")


class Category(FrozenModel):
    """One categorical feature of a row, as codes in `cat[:, j]`."""

    name: str
    column: int = Field(ge=0)
    size: int = Field(ge=FIRST_VALUE, description="how many codes there are, the three reserved ones included")
    absent: tuple[int, ...] = Field((), description="reserved codes that training rows never had: never drawn")


def absent_codes(*, missing: bool, rare: bool) -> tuple[int, ...]:
    """The reserved codes that are not drawn, by which of them training rows had.

    >>> absent_codes(missing=True, rare=False)
    (1, 2)
    """
    had = {MISSING: missing, UNSEEN: False, RARE: rare}
    return tuple(code for code, is_there in had.items() if not is_there)


class Image(FrozenModel):
    """The shape of an image row, `image[B, C, H, W]` uint8."""

    channels: int = Field(ge=1)
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    top: int = Field(255, ge=1, description="the greatest value a pixel takes: 255, or less in scans of fewer bits")

    @property
    def pixels(self) -> int:
        return self.channels * self.height * self.width


class Series(FrozenModel):
    """The shape of a window of a time series, `steps[B, T, F]` float32 and `length[B]` int32; NaN is missing."""

    steps: int = Field(ge=1, description="the most steps of a window, T")
    shortest: int = Field(ge=1, description="steps of the shortest window in training")
    longest: int = Field(ge=1, description="steps of the longest window in training")
    numbers: tuple[Number, ...] = Field(min_length=1, description="one a channel, for all its steps alike")

    @property
    def channels(self) -> int:
        return len(self.numbers)

    @property
    def values(self) -> int:
        """How many numbers the longest window has."""
        return self.steps * self.channels

    @property
    def is_uneven(self) -> bool:
        """Whether lengths varied in training, so that the length of a window is modelled too."""
        return self.shortest < self.longest

    @property
    def has_missing(self) -> bool:
        return any(number.may_be_missing for number in self.numbers)


class Layout(FrozenModel):
    """One encoded row: numbers and categories of a table, one image or one window; and what is given beside it."""

    columns: tuple[str, ...] = Field(description="the modelled source columns, in order; reasons name these")
    numbers: tuple[Number, ...] = ()
    categories: tuple[Category, ...] = ()
    image: Image | None = None
    series: Series | None = None
    target: Image | None = Field(None, description="what is rebuilt in the image's place, from a column of its own")
    conditions: tuple[str, ...] = Field((), description="source columns that are given, not modelled, in order")
    given_numbers: tuple[Number, ...] = Field((), description="features of conditions; `column` indexes `conditions`")
    given_categories: tuple[Category, ...] = Field((), description="the same, as codes")

    @property
    def kind(self) -> Literal["table", "image", "series"]:
        if self.series is not None:
            return "series"
        return "image" if self.image is not None else "table"

    @property
    def rebuilt(self) -> Image | None:
        """The shape of the image that a decoder answers: the target's where there is one."""
        return self.target or self.image

    @property
    def straight(self) -> int:
        """How many numbers of a table networks see as logarithms, and distances of rows as they are too."""
        return sum(number.transform == "log" for number in self.numbers) if self.kind == "table" else 0

    @property
    def features(self) -> int:
        """How many losses a row has: one a number, category or pixel, in this order; one a value of a window.

        The length of a window is the last of its features where lengths vary.
        """
        if self.series is not None:
            return self.series.values + self.series.is_uneven
        return self.rebuilt.pixels if self.rebuilt is not None else len(self.numbers) + len(self.categories)

    @property
    def given(self) -> int:
        """Width of the vector that conditions become: numbers, flags of those that may be missing, one-hot codes."""
        flags = sum(number.may_be_missing for number in self.given_numbers)
        return len(self.given_numbers) + flags + sum(category.size for category in self.given_categories)

    @property
    def ports(self) -> tuple[Port, ...]:
        """The tensors that a row is made of, absent ones left out: seen, given, wanted."""
        return (*self.seen_ports, *self.given_ports, *_image_ports("target", self.target))

    @property
    def seen_ports(self) -> tuple[Port, ...]:
        """The tensors that are encoded."""
        if self.series is not None:
            return _series_ports(self.series)
        return _image_ports("image", self.image) or _table_ports("", self.numbers, self.categories)

    @property
    def given_ports(self) -> tuple[Port, ...]:
        """The tensors of the conditions."""
        return _table_ports("given_", self.given_numbers, self.given_categories)

    @property
    def encoded_ports(self) -> tuple[Port, ...]:
        """What an encoder takes: what is seen, and what is given."""
        return self.seen_ports + self.given_ports

    @property
    def rebuilt_ports(self) -> tuple[Port, ...]:
        """The tensors that a decoder answers: those that are encoded, or the target in the image's place."""
        return _image_ports("target", self.target) or self.seen_ports


def _image_ports(name: str, image: Image | None) -> tuple[Port, ...]:
    return () if image is None else (Port(name, "uint8", (image.channels, image.height, image.width)),)


def _series_ports(series: Series) -> tuple[Port, ...]:
    return Port("steps", "float32", (series.steps, series.channels)), Port("length", "int32", ())


def _table_ports(prefix: str, numbers: tuple[Number, ...], categories: tuple[Category, ...]) -> tuple[Port, ...]:
    ports = (
        Port(f"{prefix}num", "float32", (len(numbers),)),
        Port(f"{prefix}cat", "int32", (len(categories),)),
    )
    return tuple(port for port in ports if port.row_shape != (0,))
