"""Layout of one encoded row: its tensors and the meaning of their numbers.

Shared by the host half and the graph half of the encoding; independent of Arrow, torch and onnxruntime.
"""

from typing import Literal, NamedTuple

from pydantic import Field

from aepipe.frozen import FrozenModel

MISSING, UNSEEN, RARE, FIRST_VALUE = 0, 1, 2, 3
"""Codes of a category, everywhere: 0 missing, 1 unseen in training, 2 rare, 3 ... its values."""

END = FIRST_VALUE
"""Code of a position of a text after its last token; the codes of tokens follow it."""

MANY_CODES = 1_024
"""Columns with more codes than this are decoded by a two-level softmax."""

Noise = Literal["normal", "uniform"]
LatentKind = Literal["real", "code", "binary"]
LATENT_TYPES: dict[LatentKind, str] = {"real": "float32", "code": "int32", "binary": "int8"}
"""numpy types of latents in graphs and in Parquet"""
CLUSTER_COLUMNS = ("cluster", "cluster_distance")
"""Feature columns of a model with clusters."""


OPENING, COMPLETER = "opening", "completer"
"""Names of the two graphs that draw the codes of a row one after the other, some of them forced."""
LABELS = "labels"
"""Name of the graph that draws the labels of a row, and of its output."""
TEXT_SAMPLER = "text_sampler"
"""Name of the graph that samples rows with a temperature and a truncation of the tokens of texts."""
RANKER = "ranker"
"""Name of the graph that ranks the items that a row does not have."""
FREE = -1
"""Marks a code that is drawn, not forced."""
INFORMATION = "mutual_information"
"""Metric of models of texts: mutual information of rows and latents, in nats."""


class Port(NamedTuple):
    """One tensor of an ONNX graph: name, numpy dtype, and the shape of one row, without the batch axis."""

    name: str
    dtype: str
    row_shape: tuple[int, ...]
    noise: Noise | None = None


class LatentSpace(FrozenModel):
    """Names and kind of the latents, and which of them are written as features."""

    names: tuple[str, ...]
    kind: LatentKind = "real"
    pooled: tuple[str, ...] = Field(
        (), description="real features that summarise latents without a metric, such as codes or latents per step"
    )
    is_written: bool = Field(True, description="whether the latents are features themselves; else only the pooled are")
    has_clusters: bool = Field(False, description="whether the features name each row's cluster and its distance")

    @property
    def features(self) -> dict[str, tuple[str, ...]]:
        """Feature columns by output of the scorer."""
        return self._coordinates | ({name: (name,) for name in CLUSTER_COLUMNS} if self.has_clusters else {})

    @property
    def columns(self) -> tuple[str, ...]:
        """Feature columns that are coordinates, in order, without the cluster columns."""
        return tuple(name for names in self._coordinates.values() for name in names)

    @property
    def _coordinates(self) -> dict[str, tuple[str, ...]]:
        return ({"z": self.names} if self.is_written else {}) | ({"pooled": self.pooled} if self.pooled else {})


class Number(FrozenModel):
    """One numeric feature of a row, `num[:, j]`: the source's value minus a float64 offset subtracted on the host."""

    name: str = Field(description="column, or column and part, such as `opened.week`")
    column: int = Field(ge=0, description="index of the source column in `Layout.columns`")
    transform: Literal["linear", "log"] = Field("linear", description="log: sign(v) log1p(|v|) of the scaled value")
    center: float = Field(0.0, description="subtracted in the graph")
    scale: float = Field(1.0, gt=0, description="divided by in the graph, before the transform")
    mean: float = Field(0.0, description="of the transformed value over the training rows")
    std: float = Field(1.0, gt=0, description="of the transformed value over the training rows")
    may_be_missing: bool = Field(False, description="training had missing values, which a flag models")
    low: float | None = Field(None, description="least value seen in training, offset subtracted")
    high: float | None = Field(None, description="greatest value seen in training, offset subtracted")


class Category(FrozenModel):
    """One categorical feature of a row, as codes in `cat[:, j]`."""

    name: str
    column: int = Field(ge=0)
    size: int = Field(ge=FIRST_VALUE, description="number of codes, including the three reserved ones")
    absent: tuple[int, ...] = Field((), description="reserved codes that training rows never had: never drawn")
    bins: int = Field(
        0,
        ge=0,
        exclude_if=lambda value: not value,
        description="number of codes, the last ones, that are ranges of a number in ascending order",
    )


def absent_codes(*, missing: bool, rare: bool) -> tuple[int, ...]:
    """Return the reserved codes that training rows did not have; these codes are never drawn.

    >>> absent_codes(missing=True, rare=False)
    (1, 2)
    """
    had = {MISSING: missing, UNSEEN: False, RARE: rare}
    return tuple(code for code, is_there in had.items() if not is_there)


class Text(FrozenModel):
    """Text of a row: a run of categories `cat[:, first : first + length]`, one per token, which share their codes.

    END marks the positions after the last token; a text of `length` tokens or more has no END. The items of a row are
    one, too: a set of codes, in rising order.
    """

    name: str
    column: int = Field(ge=0, description="index of the source column in `Layout.columns`")
    first: int = Field(ge=0, description="index of the first position in `Layout.categories`")
    length: int = Field(ge=1, description="number of positions, T")
    size: int = Field(gt=END, description="number of codes of a position, K")
    is_set: bool = Field(
        False, exclude_if=lambda value: not value, description="a set of items in place of a sequence of tokens"
    )


class Image(FrozenModel):
    """Shape of an image row, `image[B, C, H, W]` uint8."""

    channels: int = Field(ge=1)
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    top: int = Field(255, ge=1, description="the greatest value a pixel takes: 255, or less in scans of fewer bits")

    @property
    def pixels(self) -> int:
        return self.channels * self.height * self.width


class Series(FrozenModel):
    """Shape of a window of a time series, `steps[B, T, F]` float32 and `length[B]` int32; NaN is missing."""

    steps: int = Field(ge=1, description="the most steps of a window, T")
    shortest: int = Field(ge=1, description="steps of the shortest window in training")
    longest: int = Field(ge=1, description="steps of the longest window in training")
    numbers: tuple[Number, ...] = Field(min_length=1, description="one per channel, shared by all steps")

    @property
    def channels(self) -> int:
        return len(self.numbers)

    @property
    def values(self) -> int:
        """Number of values in a window of full length."""
        return self.steps * self.channels

    @property
    def is_uneven(self) -> bool:
        """True if the training windows differed in length; then the length of a window is modelled too."""
        return self.shortest < self.longest

    @property
    def has_missing(self) -> bool:
        return any(number.may_be_missing for number in self.numbers)


class Layout(FrozenModel):
    """One encoded row: numbers and categories of a table, one image or one window, and its conditions."""

    columns: tuple[str, ...] = Field(description="modelled source columns, in order; attributions name these")
    numbers: tuple[Number, ...] = ()
    categories: tuple[Category, ...] = ()
    texts: tuple[Text, ...] = Field((), exclude_if=lambda value: not value, description="texts among the categories")
    image: Image | None = None
    series: Series | None = None
    target: Image | None = Field(
        None, description="image to reconstruct instead of the input image, from another column"
    )
    source_columns: tuple[str, ...] = Field(
        (), description="source column of each of `columns`, if several belong to one; empty: the columns themselves"
    )
    conditions: tuple[str, ...] = Field(
        (), description="source columns that condition the model and are not modelled, in order"
    )
    given_numbers: tuple[Number, ...] = Field((), description="features of conditions; `column` indexes `conditions`")
    given_categories: tuple[Category, ...] = Field((), description="the same, as codes")

    @property
    def sources(self) -> tuple[str, ...]:
        """Source column of each of `columns`."""
        return self.source_columns or self.columns

    @property
    def kind(self) -> Literal["table", "text", "items", "image", "series"]:
        """Kind of rows: a table with a text column is `text`, one with a list of items `items`."""
        if self.series is not None:
            return "series"
        if self.image is not None:
            return "image"
        if not self.texts:
            return "table"
        return "items" if all(text.is_set for text in self.texts) else "text"

    @property
    def has_cells(self) -> bool:
        """True if a row has a value per column: a table, with texts or items or without."""
        return self.kind in ("table", "text", "items")

    @property
    def rebuilt(self) -> Image | None:
        """Shape of the image that the decoder returns: the target if there is one, else the input image."""
        return self.target or self.image

    @property
    def straight(self) -> int:
        """Number of log-transformed columns of a table; distances between rows also use their linear values."""
        return sum(number.transform == "log" for number in self.numbers) if self.has_cells else 0

    @property
    def features(self) -> int:
        """Number of losses per row: one per number, category or pixel, in this order; one per value of a window.

        If lengths vary, the length of a window is its last feature.
        """
        if self.series is not None:
            return self.series.values + self.series.is_uneven
        return self.rebuilt.pixels if self.rebuilt is not None else len(self.numbers) + len(self.categories)

    @property
    def given(self) -> int:
        """Width of the condition vector: numbers, missing flags where needed, one-hot codes."""
        flags = sum(number.may_be_missing for number in self.given_numbers)
        return len(self.given_numbers) + flags + sum(category.size for category in self.given_categories)

    @property
    def ports(self) -> tuple[Port, ...]:
        """Tensors of a row, absent ones left out: encoded, conditions, target."""
        return (*self.seen_ports, *self.given_ports, *_image_ports("target", self.target))

    @property
    def seen_ports(self) -> tuple[Port, ...]:
        """Tensors that are encoded."""
        if self.series is not None:
            steps = Port("steps", "float32", (self.series.steps, self.series.channels))
            return steps, Port("length", "int32", ())
        return _image_ports("image", self.image) or _table_ports("", self.numbers, self.categories)

    @property
    def given_ports(self) -> tuple[Port, ...]:
        """Tensors of the conditions."""
        return _table_ports("given_", self.given_numbers, self.given_categories)

    @property
    def encoded_ports(self) -> tuple[Port, ...]:
        """Inputs of an encoder: the encoded tensors and the conditions."""
        return self.seen_ports + self.given_ports

    @property
    def rebuilt_ports(self) -> tuple[Port, ...]:
        """Tensors that a decoder returns: the encoded ones, or the target in place of the image."""
        return _image_ports("target", self.target) or self.seen_ports


def _image_ports(name: str, image: Image | None) -> tuple[Port, ...]:
    return () if image is None else (Port(name, "uint8", (image.channels, image.height, image.width)),)


def _table_ports(prefix: str, numbers: tuple[Number, ...], categories: tuple[Category, ...]) -> tuple[Port, ...]:
    ports = (
        Port(f"{prefix}num", "float32", (len(numbers),)),
        Port(f"{prefix}cat", "int32", (len(categories),)),
    )
    return tuple(port for port in ports if port.row_shape != (0,))
