"""Scored pieces of a large partition, kept in the folder of the outputs until one commit joins them."""

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from aepipe.errors import DataUnreadable
from aepipe.storage.atomic_files import put_json, remove, replacing
from aepipe.storage.paths import PartitionPaths, check_partition
from aepipe.storage.run_kinds import SCORE
from aepipe.stores import StorePath


class PieceFiles:
    """Rows of each output of a piece as an Arrow stream, and a JSON record that is written last.

    Args:
        root: folder of the outputs.
        partition: name of the partition.
        source: identity of what the pieces are computed from.
    """

    def __init__(self, root: Path, partition: str, source: str) -> None:
        self._paths = PartitionPaths(root, check_partition(partition), SCORE)
        self.folder = self._paths.pieces / source.rpartition(":")[2]

    def record(self, index: int) -> dict[str, Any] | None:
        """Return the record of a piece; None if the piece is not complete."""
        try:
            record = json.loads((self.folder / f"{index}.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return record if isinstance(record, dict) else None

    @contextmanager
    def writing(self, index: int) -> Iterator["PieceWriter"]:
        """Write the outputs of a piece: all of them become visible at the end of the block, none if it raises."""
        with ExitStack() as files:
            yield PieceWriter(self.folder, index, files)

    def complete(self, index: int, record: dict[str, Any]) -> None:
        """Write the record of a piece whose outputs are written."""
        put_json(self.folder / f"{index}.json", record)

    def batches(self, index: int, output: str) -> Iterator[pa.RecordBatch]:
        """Yield the rows of an output of a piece, in the batches in which they were written.

        Raises:
            DataUnreadable: the file is absent or damaged.
        """
        path = self.folder / _name(index, output)
        try:
            source = path.open_arrow() if isinstance(path, StorePath) else pa.OSFile(str(path))
            with source, pa.ipc.open_stream(source) as stream:
                yield from stream
        except (OSError, pa.ArrowException) as error:
            raise DataUnreadable(f"{path} cannot be read: {error}. Delete it, and run again.") from None

    def remove(self) -> None:
        """Remove the pieces of the partition."""
        remove_pieces(self._paths)


class PieceWriter:
    """Outputs of one piece while they are written; made by `PieceFiles.writing`."""

    def __init__(self, folder: Path, index: int, files: ExitStack) -> None:
        self._folder, self._index, self._files = folder, index, files

    def open(self, output: str, schema: pa.Schema) -> pa.RecordBatchStreamWriter:
        """Open the file of an output; its `write` takes batches, and `close` ends it."""
        temp = self._files.enter_context(replacing(self._folder / _name(self._index, output)))
        return self._files.enter_context(pa.ipc.new_stream(str(temp), schema))


def remove_pieces(paths: PartitionPaths) -> None:
    """Remove all pieces of a partition, of any source."""
    if isinstance(paths.root, StorePath):
        for path in paths.pieces.rglob("*"):
            remove(path)
    elif paths.pieces.exists():
        shutil.rmtree(paths.pieces, ignore_errors=True)


def _name(index: int, output: str) -> str:
    return f"{index}.{output}.arrow"
