"""Noise that depends on seed, port and row alone: counted, not consumed.

Philox turns a counter into random words (Salmon et al. 2011), so that a row's noise is made without that of the rows
before it. Words become numbers here, not in numpy's Generator, whose stream may change with its version.
"""

import numpy as np
from numpy.typing import NDArray

from aepipe.layout import Port
from aepipe.storage import digest_of

_WORDS = 4  # that one count of Philox gives


def noise(port: Port, *, stream: str, seed: int, start: int, rows: int) -> NDArray[np.float32]:
    """The noise of `rows` rows from row `start` on, (rows, *row_shape): standard normal, or uniform on [0, 1).

    stream: sets apart ports of one name, of two graphs.
    """
    width = int(np.prod(port.row_shape, dtype=np.int64))
    even = width + width % 2  # normals come in pairs
    uniform = uniforms(f"{stream}.{port.name}", seed=seed, start=start, rows=rows, width=even)
    values = _normal(uniform) if port.noise == "normal" else uniform
    # float32 rounds the last of [0, 1) up to 1
    limited = values if port.noise == "normal" else np.minimum(values, np.nextafter(np.float32(1), np.float32(0)))
    return np.ascontiguousarray(limited[:, :width].reshape(rows, *port.row_shape), np.float32)


def uniforms(stream: str, *, seed: int, start: int, rows: int, width: int) -> NDArray[np.float64]:
    """(rows, width) on [0, 1), of 53 bits each, of `rows` rows from row `start` on."""
    counts = -(-width // _WORDS)
    # 128 bits: every seed and stream has a stream of its own.
    key = int(digest_of(str(seed), stream).removeprefix("xxh3:"), 16)
    generator = np.random.Philox(key=key, counter=start * counts)
    words = generator.random_raw(rows * counts * _WORDS).reshape(rows, counts * _WORDS)
    return (words[:, :width] >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _normal(uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    """Box and Muller 1958: each pair of uniforms is a radius and an angle."""
    radius = np.sqrt(-2 * np.log1p(-uniform[:, 0::2]))
    angle = 2 * np.pi * uniform[:, 1::2]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
