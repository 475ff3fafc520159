"""Counter-based noise: a function of seed, port and row.

Philox maps a counter to random words (Salmon et al. 2011), so that the noise of a row does not need that of the rows
before it. The words are converted to numbers here if numpy's Generator, whose stream may change with its version, does
it in another way.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from aepipe.layout import Port
from aepipe.storage import digest_of

_WORDS = 4  # per count of Philox
_COMPARED = 1_000


def noise(port: Port, *, stream: str, seed: int, start: int, rows: int) -> NDArray[np.float32]:
    """Return the noise of `rows` rows from row `start` on, (rows, *row_shape): standard normal, or uniform on [0, 1).

    Args:
        port: names the kind and the shape of the noise.
        stream: distinguishes ports of the same name in different graphs.
        seed: the seed.
        start: first row.
        rows: number of rows.
    """
    width = int(np.prod(port.row_shape, dtype=np.int64))
    even = width + width % 2  # normals come in pairs
    uniform = uniforms(f"{stream}.{port.name}", seed=seed, start=start, rows=rows, width=even)
    if port.noise == "normal":  # Box & Muller 1958: each pair of uniforms is a radius and an angle
        radius, angle = np.sqrt(-2 * np.log1p(-uniform[:, 0::2])), 2 * np.pi * uniform[:, 1::2]
        values = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    else:  # float32 rounds the largest value below 1 up to 1
        values = np.minimum(uniform.astype(np.float32), np.nextafter(np.float32(1), np.float32(0)))
    return np.ascontiguousarray(values[:, :width].reshape(rows, *port.row_shape), np.float32)


def uniforms(stream: str, *, seed: int, start: int, rows: int, width: int) -> NDArray[np.float64]:
    """Return uniforms on [0, 1) of 53 bits, (rows, width), for `rows` rows from row `start` on."""
    counts = -(-width // _WORDS)
    # 128 bits: seeds and streams never share a key.
    key = int(digest_of(str(seed), stream).removeprefix("xxh3:"), 16)
    generator = np.random.Philox(key=key, counter=start * counts)
    if _is_converted_by_numpy():
        return np.random.Generator(generator).random((rows, counts * _WORDS))[:, :width]
    words = generator.random_raw(rows * counts * _WORDS).reshape(rows, counts * _WORDS)
    return (words[:, :width] >> np.uint64(11)).astype(np.float64) * 2.0**-53


@cache
def _is_converted_by_numpy() -> bool:
    """Tell whether numpy's Generator converts words as `uniforms` does: in one pass, in half of the time."""
    words = np.random.Philox(key=1).random_raw(_COMPARED)
    filled = np.random.Generator(np.random.Philox(key=1)).random(_COMPARED)
    return np.array_equal(filled, (words >> np.uint64(11)).astype(np.float64) * 2.0**-53)
