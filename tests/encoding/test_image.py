import io

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aepipe.encoding import Encoding
from tests.support.columns import IMAGES, batch_of, encoding_of, one_column

SPEC = {"kind": "image", "shape": [1, 2, 3]}
FINE = ""
SIZE = "x is not 1x2x3 (channels x height x width), which the model takes"
MISSING = "x is missing"
UNREADABLE = "x cannot be read as PNG or JPEG"
many = settings(max_examples=100)


def reasons(encoding: Encoding, array: pa.Array) -> list[str]:
    return [encoding.invalid_reasons[at] for at in encoding.encode(batch_of(array)).invalid]


def packed(pixels: np.ndarray, form: str = "PNG") -> bytes:
    """Encode an image (H, W) or (H, W, C) as a file."""
    out = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(out, format=form)
    return out.getvalue()


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)


@many
@given(st.one_of(*IMAGES.values()))
def test_pixels_are_decoded_exactly_in_every_layout(array: pa.Array) -> None:
    encoding = one_column(array, SPEC)
    flat = [np.array(list(one) if isinstance(one, bytes) else one).ravel() for one in array.to_pylist()]

    encoded = encoding.encode(batch_of(array))

    assert encoded.arrays["image"].reshape(len(array), 6).tolist() == np.array(flat).tolist()
    assert encoding.decode(encoded.arrays).column(0).equals(array)


def test_channels_come_first_in_raw_bytes() -> None:
    encoding = one_column(pa.array([bytes(range(12))]), {"kind": "image", "shape": [3, 2, 2]})

    image = encoding.encode(batch_of(pa.array([bytes(range(12))]))).arrays["image"]

    assert image[0, 2].tolist() == [[8, 9], [10, 11]]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view(), pa.list_(pa.uint8())])
def test_rows_of_another_size_and_rows_without_an_image_are_invalid_and_blank(kind: pa.DataType) -> None:
    rows = [bytes([9] * 6), bytes(5), None, bytes(7), b"", bytes([7] * 6)]
    array = pa.array([row if row is None or pa.types.is_list(kind) is False else list(row) for row in rows], kind)
    encoding = one_column(pa.array([bytes(6)], pa.binary()).cast(kind) if not pa.types.is_list(kind) else array, SPEC)

    encoded = encoding.encode(batch_of(array))

    assert reasons(encoding, array) == [FINE, SIZE, MISSING, SIZE, SIZE, FINE]
    assert reasons(encoding, array.slice(2, 3)) == [MISSING, SIZE, SIZE]
    assert encoded.arrays["image"].reshape(6, 6)[:, 0].tolist() == [9, 0, 0, 0, 0, 7]


def test_a_null_in_fixed_binary_is_missing() -> None:
    array = pa.array([bytes([9] * 6), None], pa.binary(6))

    assert reasons(one_column(array, SPEC), array) == [FINE, MISSING]


def test_a_column_of_nulls_is_a_column_of_missing_images() -> None:
    encoding = one_column(pa.array([bytes(6)]), SPEC)

    assert reasons(encoding, pa.nulls(2)) == [MISSING, MISSING]


@pytest.mark.parametrize("pixel", [-1, 256, 2.5e9, None])
def test_an_invalid_pixel_makes_its_row_invalid(pixel: float | None) -> None:
    number = None if pixel is None else int(pixel)
    array = pa.array([[0] * 6, [1, 2, number, 4, 5, 6], [255] * 6], pa.list_(pa.int64()))

    assert reasons(one_column(array, SPEC), array) == [FINE, "x has a pixel outside 0 to 255", FINE]


def test_a_pixel_above_the_jobs_top_makes_its_row_invalid() -> None:
    array = pa.array([bytes([16] * 6), bytes([0] * 5 + [17])])
    encoding = one_column(array, SPEC | {"top": 16})

    assert reasons(encoding, array) == [FINE, "x has a pixel outside 0 to 16"]
    assert encoding.layout.image is not None
    assert encoding.layout.image.top == 16
    decoded = encoding.decode({"image": np.full((1, 1, 2, 3), 200, np.uint8)})
    assert decoded.column(0).to_pylist() == [bytes([16] * 6)]


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3), (5, 4, 4), (5, 4, 2)])
def test_png_bytes_are_read_and_written_without_loss(shape: tuple[int, ...]) -> None:
    pixels = noise(3, *shape)
    array = pa.array([packed(one) for one in pixels])
    encoding = one_column(array)

    image = encoding.encode(batch_of(array)).arrays["image"]
    again = encoding.encode(encoding.decode({"image": image})).arrays["image"]

    expected = pixels.reshape(3, 5, 4, -1).transpose(0, 3, 1, 2)
    assert np.array_equal(image, expected)
    assert np.array_equal(again, expected)


def test_jpeg_bytes_are_read_like_by_pillow() -> None:
    content = packed(noise(8, 8, 3), "JPEG")
    encoding = one_column(pa.array([content]))

    image = encoding.encode(batch_of(pa.array([content]))).arrays["image"]

    assert np.array_equal(image[0], np.asarray(Image.open(io.BytesIO(content))).transpose(2, 0, 1))


def test_pictures_of_another_shape_are_refused_unless_the_job_says_resize() -> None:
    array = pa.array(
        [packed(noise(2, 3)), packed(noise(2, 3)), packed(noise(4, 6)), packed(noise(2, 3, 3)), b"x", None]
    )

    strict, lenient = one_column(array), one_column(array, {"resize": True})

    assert reasons(strict, array) == [FINE, FINE, SIZE, SIZE, UNREADABLE, MISSING]
    assert reasons(lenient, array) == [FINE, FINE, FINE, FINE, UNREADABLE, MISSING]
    assert lenient.encode(batch_of(array)).arrays["image"].shape == (6, 1, 2, 3)


def test_a_resized_picture_equals_that_of_pillow() -> None:
    pixels = noise(8, 12)
    array = pa.array([packed(noise(2, 3)), packed(noise(2, 3)), packed(pixels)])

    image = one_column(array, {"resize": True}).encode(batch_of(array)).arrays["image"]

    expected = Image.fromarray(pixels).resize((3, 2), Image.Resampling.BILINEAR)
    assert np.array_equal(image[2, 0], np.asarray(expected))


def test_a_truncated_picture_is_unreadable_and_spares_the_others() -> None:
    good = packed(noise(40, 40))
    array = pa.array([good, good, good[: len(good) // 2]])

    assert reasons(one_column(array), array) == [FINE, FINE, UNREADABLE]


def test_tensors_may_be_written_to_and_leave_the_source_alone() -> None:
    array = pa.array([bytes([5] * 6)], pa.binary(6))
    image = one_column(array, SPEC).encode(batch_of(array)).arrays["image"]

    image[:] = 1

    assert array.to_pylist() == [bytes([5] * 6)]


def test_an_image_is_the_only_feature_of_its_row() -> None:
    table = pa.table({"id": ["a"], "pixels": pa.array([bytes(6)], pa.binary(6)), "weight": [1.0], "digit": [3]})

    encoding = encoding_of(table, {"pixels": SPEC}, keys=["id"], labels=["digit"])

    assert encoding.layout.kind == "image"
    assert encoding.layout.columns == ("pixels",)
    assert encoding.columns_read == ("pixels", "id", "digit")
    assert encoding.decode(encoding.encode(table.to_batches()[0]).arrays).schema.names == ["pixels"]
