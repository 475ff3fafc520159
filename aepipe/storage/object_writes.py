"""Writes to an object store: an object is complete or absent.

pyarrow completes the upload of a stream that is dropped, so that an exception in the middle would publish a part of a
file. Here an upload starts when all bytes are at hand, and one call hands them over. If the store refuses a part, the
upload is never completed: no object appears.
"""

import contextlib
from pathlib import Path

import pyarrow as pa

from aepipe.stores import StorePath
from aepipe.stores.connection import asking


def put_object(path: StorePath, data: bytes | pa.Buffer) -> None:
    """Write an object: readers see the old one or the new one."""
    with asking(str(path)), path.file_system.open_output_stream(path.in_store) as stream:
        stream.write(data)


def upload(source: Path, path: StorePath) -> None:
    """Write a local file to an object, without reading it into memory."""
    with pa.memory_map(str(source)) as file:
        put_object(path, file.read_buffer())


def delete_object(path: StorePath) -> None:
    """Delete an object, if it exists."""
    with asking(str(path)), contextlib.suppress(FileNotFoundError):
        path.file_system.delete_file(path.in_store)


def delete_objects(folder: StorePath) -> None:
    """Delete all objects below a prefix, in the order of their names; readers see some of them meanwhile."""
    with contextlib.suppress(FileNotFoundError), asking(str(folder)):
        for path in folder.rglob("*"):
            path.file_system.delete_file(path.in_store)
        folder.file_system.delete_dir(folder.in_store)
