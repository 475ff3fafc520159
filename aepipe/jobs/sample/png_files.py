"""Images of a set of synthetic rows as PNG files."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from aepipe.bundles.bundle import Bundle
from aepipe.errors import ArgumentInvalid
from aepipe.jobs.row_images import drawn_images, top_of
from aepipe.storage import put_bytes
from aepipe.tables.image_codec import png_of
from aepipe.tables.parquet_reader import READ_ROWS


def refuse_png(bundle: Bundle, folder: Path | None) -> None:
    """Refuse to write the images of a table, or to a path that is no folder.

    Raises:
        ArgumentInvalid: The rows have no image, or the folder is a file.
    """
    if folder is None:
        return
    if bundle.encoding.layout.has_cells:
        raise ArgumentInvalid("png", [f"{bundle.version} has neither images nor windows: leave it out"])
    if folder.exists() and not folder.is_dir():
        raise ArgumentInvalid("png", [f"expected a folder, got the file {folder}"])


def write_png_files(bundle: Bundle, path: Path, folder: Path | None) -> Path | None:
    """Write the image of each row of a Parquet file to <folder>/<row>.png, and return the folder.

    Values are scaled to 0 to 255; of more than three channels, or of two, the first is drawn in grey.
    """
    if folder is None:
        return None
    rows = pq.read_table(path, partitioning=None)
    top = top_of(bundle.encoding.layout)
    for start in range(0, rows.num_rows, READ_ROWS):
        for at, image in enumerate(drawn_images(bundle.encoding, rows.slice(start, READ_ROWS)), start):
            shown = image if len(image) in (1, 3) else image[:1]
            scaled = np.clip(shown * (255 / top), 0, 255).round().astype(np.uint8)
            put_bytes(folder / f"{at:06d}.png", png_of(scaled))
    return folder
