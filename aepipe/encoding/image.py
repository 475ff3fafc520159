"""Encode images from raw bytes, lists of integers, PNG or JPEG to uint8 (C, H, W)."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from aepipe.encoding.nested_lists import flat
from aepipe.frozen import FrozenModel
from aepipe.layout import Image
from aepipe.tables import image_codec as image_bytes
from aepipe.tables.arrow_arrays import array_of, bytes_of, nulls_of, plain_values, values_of
from aepipe.tables.arrow_types import innermost, list_depth, sort_of
from aepipe.tables.schema import Column

_FINE, _MISSING, _SHAPE, _UNREADABLE, _RANGE = range(5)


class Pixels(NamedTuple):
    """Encoded images, uint8 (B, C, H, W), zeros in invalid rows; reasons int16 (B,): 0, or 1 + index of the reason."""

    image: np.ndarray
    reasons: np.ndarray


class ImageCodec(FrozenModel):
    """Encoder of images. Raw bytes and lists are in channel, row, column order; `resize` fits other sizes."""

    name: str
    image: Image
    resize: bool = False
    packed: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return self.image.channels, self.image.height, self.image.width

    @property
    def reasons(self) -> tuple[str, ...]:
        """Messages for the values of `Pixels.reasons`."""
        size = "x".join(map(str, self.shape))
        return (
            f"{self.name} is missing",
            f"{self.name} is not {size} (channels x height x width), which the model takes",
            f"{self.name} cannot be read as PNG or JPEG",
            f"{self.name} has a pixel outside 0 to {self.image.top}",
        )

    def encode(self, array: pa.Array) -> Pixels:
        """Encode a column of any type that `arrow_types.carries` accepts for the source's type."""
        found = self._read(array)
        nulls = nulls_of(array)
        if nulls is not None:
            found.reasons[nulls] = _MISSING
        if found.image.max(initial=0) > self.image.top:
            found.reasons[(found.image > self.image.top).any(axis=(1, 2, 3)) & (found.reasons == _FINE)] = _RANGE
        if found.reasons.any():
            found.image[found.reasons != _FINE] = 0
        return found

    def decode(self, image: np.ndarray, kind: pa.DataType) -> pa.Array:
        """Decode images (B, C, H, W) to a column of plain type `kind`; PNG bytes if the source held PNG or JPEG."""
        grid = np.ascontiguousarray(np.minimum(image, self.image.top), np.uint8)
        if self.packed:
            return bytes_of([image_bytes.png_of(one) for one in grid]).cast(kind)
        rows = grid.reshape(len(grid), self.image.pixels)
        if pt.is_fixed_size_binary(kind):
            return pa.Array.from_buffers(kind, len(rows), [None, pa.py_buffer(rows)])
        if pt.is_binary(kind):
            return bytes_of([row.tobytes() for row in rows])
        return _as_lists(rows, kind, self.shape)

    def _read(self, array: pa.Array) -> Pixels:
        if len(array) == 0 or pt.is_null(array.type):
            return self._blank(len(array))
        if sort_of(array.type) == "list":
            return self._from_lists(array)
        array = plain_values(array)
        return self._from_pictures(array.to_pylist()) if self.packed else self._from_bytes(array)

    def _blank(self, rows: int) -> Pixels:
        return Pixels(np.zeros((rows, *self.shape), np.uint8), np.zeros(rows, np.int16))

    def _from_bytes(self, array: pa.Array) -> Pixels:
        if pt.is_fixed_size_binary(array.type):
            width = array.type.byte_width
            offsets = (np.arange(len(array) + 1) + array.offset) * width
            content = array.buffers()[1]
        else:
            offsets = np.frombuffer(array.buffers()[1], np.int32, len(array) + 1, array.offset * 4).astype(np.int64)
            content = array.buffers()[2]
        values = np.zeros(0, np.uint8) if content is None else np.frombuffer(content, np.uint8)
        return self._copied(values, offsets[:-1], offsets[1:])

    def _from_lists(self, array: pa.Array) -> Pixels:
        lists = flat(array)
        numbers = values_of(lists.values)
        values = numbers if numbers.dtype == np.uint8 else np.clip(numbers, 0, 255).astype(np.uint8)
        odd = values != numbers
        empty = nulls_of(lists.values)
        if empty is not None:
            odd = odd | empty
        found = self._copied(values, lists.starts, lists.ends)
        if odd.any():
            before = np.concatenate([[0], np.cumsum(odd)])
            found.reasons[(before[lists.ends] > before[lists.starts]) & (found.reasons == _FINE)] = _RANGE
        return found

    def _copied(self, values: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> Pixels:
        """Copy row i from values[starts[i]:ends[i]]; in one copy if the rows are contiguous, the usual case."""
        size = self.image.pixels
        wrong = ends - starts != size
        if not wrong.any() and np.array_equal(starts[1:], ends[:-1]):
            whole = values[starts[0] : ends[-1]].reshape(-1, *self.shape)
            return Pixels(whole.copy(), np.zeros(len(starts), np.int16))
        found = self._blank(len(starts))
        found.reasons[wrong] = _SHAPE
        rows = found.image.reshape(len(starts), size)
        for at in np.flatnonzero(~wrong):
            rows[at] = values[starts[at] : ends[at]]
        return found

    def _from_pictures(self, contents: Iterable[bytes | None]) -> Pixels:
        contents = list(contents)
        found = self._blank(len(contents))
        for at, content in enumerate(contents):
            try:
                pixels = image_bytes.pixels_of(content or b"", self.shape, resize=self.resize)
            except ValueError:
                found.reasons[at] = _SHAPE
                continue
            if pixels is None:
                found.reasons[at] = _UNREADABLE
            else:
                found.image[at] = pixels
        return found


def fit_image(column: Column) -> ImageCodec:
    """Build the encoder of an image column from the schema."""
    channels, height, width = column.shape or (1, 1, 1)
    image = Image(channels=channels, height=height, width=width, top=column.top or 255)
    return ImageCodec(name=column.name, image=image, resize=column.resize, packed=column.packed)


def _as_lists(rows: np.ndarray, kind: pa.DataType, shape: tuple[int, int, int]) -> pa.Array:
    """Convert pixels (B, P) to lists, nested as deeply as the type: flat, rows, or channels of rows."""
    depth = list_depth(kind)
    sizes = {1: (rows.shape[1],), 2: (shape[1], shape[0] * shape[2]), 3: shape}[depth]
    types = [kind]
    while len(types) < depth:
        types.append(types[-1].value_type)
    array = array_of(rows.ravel(), pa.uint8()).cast(innermost(kind))
    for size, one in zip(reversed(sizes), reversed(types), strict=True):
        count = len(array) // size
        buffers = [None]
        if not pt.is_fixed_size_list(one):
            buffers.append(pa.py_buffer(np.arange(count + 1, dtype=np.int32) * size))
        array = pa.Array.from_buffers(one, count, buffers, children=[array])
    return array
