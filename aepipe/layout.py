"""The shape of one encoded row: which tensors it is made of, and what a number in them means.

Nothing here knows Arrow, torch or onnxruntime: the layout is what the host half and the graph half of the encoding
agree on.
"""

from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

MISSING, UNSEEN, RARE, FIRST_VALUE = 0, 1, 2, 3
"""Codes of a category, everywhere: 0 missing, 1 unseen in training, 2 rare, 3 ... its values."""

Noise = Literal["normal", "uniform"]


class Port(NamedTuple):
    """One tensor of an ONNX graph: name, numpy dtype, and the shape of one row (the batch axis comes first, free)."""

    name: str
    dtype: str
    row_shape: tuple[int, ...]
    noise: Noise | None = None


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Number(_Frozen):
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


class Category(_Frozen):
    """One categorical feature of a row, as codes in `cat[:, j]`."""

    name: str
    column: int = Field(ge=0)
    size: int = Field(ge=FIRST_VALUE, description="how many codes there are, the three reserved ones included")


class Image(_Frozen):
    """The shape of an image row, `image[B, C, H, W]` uint8."""

    channels: int = Field(ge=1)
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    top: int = Field(255, ge=1, description="the greatest value a pixel takes: 255, or less in scans of fewer bits")

    @property
    def pixels(self) -> int:
        return self.channels * self.height * self.width


class Layout(_Frozen):
    """One encoded row: numbers and categories of a table, or one image."""

    columns: tuple[str, ...] = Field(description="the modelled source columns, in order; reasons name these")
    numbers: tuple[Number, ...] = ()
    categories: tuple[Category, ...] = ()
    image: Image | None = None

    @property
    def kind(self) -> Literal["table", "image"]:
        return "image" if self.image is not None else "table"

    @property
    def features(self) -> int:
        """How many losses a row has: one a number, category or pixel, in this order."""
        return self.image.pixels if self.image is not None else len(self.numbers) + len(self.categories)

    @property
    def ports(self) -> tuple[Port, ...]:
        """The tensors that a row is made of, absent ones left out."""
        if self.image is not None:
            return (Port("image", "uint8", (self.image.channels, self.image.height, self.image.width)),)
        ports = []
        if self.numbers:
            ports.append(Port("num", "float32", (len(self.numbers),)))
        if self.categories:
            ports.append(Port("cat", "int32", (len(self.categories),)))
        return tuple(ports)
