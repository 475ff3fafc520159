"""Writes to an object store: an object is complete or absent.

pyarrow completes the upload of a stream that is dropped, so that an exception in the middle would publish a part of a
file. Here an upload starts when all bytes are at hand, and one call hands them over. If the store refuses a part, the
upload is never completed: no object appears. In Azure, pyarrow makes an empty object first and shows a large one in
parts while it is written; obstore, which does not, writes there.

A write under a condition depends on the version of the object that was read before: of two writers, one succeeds.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from aepipe.stores import StorePath
from aepipe.stores.connection import asking, no_bucket
from aepipe.stores.object_client import client, google_bucket, google_errors, google_limits, has_conditional_writes


class Version(NamedTuple):
    """Version of an object; both are None where the store has no conditional writes."""

    e_tag: str | None = None
    version: str | None = None


def put_object(path: StorePath, data: bytes | pa.Buffer) -> None:
    """Write an object: readers see the old one or the new one."""
    with _writing(path):
        if path.place.scheme == "abfs":
            _put(path, data, "overwrite")
            return
        with path.file_system.open_output_stream(path.in_store) as stream:
            stream.write(data)


def upload(source: Path, path: StorePath) -> None:
    """Write a local file to an object, without reading it into memory."""
    with pa.memory_map(str(source)) as file:
        put_object(path, file.read_buffer())


def read_versioned(path: StorePath) -> tuple[bytes, Version]:
    """Read an object and its version. Raises FileNotFoundError."""
    if not has_conditional_writes(path.place):
        return path.read_bytes(), Version()
    with asking(str(path)):
        if path.place.scheme == "gs":
            return _read_google(path)
        import obstore

        found = obstore.get(client(path.place), path.key)
        return bytes(found.bytes()), Version(found.meta["e_tag"], found.meta["version"])


def put_if_unchanged(path: StorePath, data: bytes, before: Version | None) -> Version | None:
    """Write an object if the version of `before` is there, or no object for None; return the new version.

    Returns None, and writes nothing, if another version is there. Where the store has no conditional writes, the object
    is written.
    """
    if not has_conditional_writes(path.place):
        put_object(path, data)
        return Version()
    if path.place.scheme == "gs":
        with _writing(path):
            return _put_google(path, data, before)
    from obstore.exceptions import AlreadyExistsError, PreconditionError

    condition = "create" if before is None else {name: value for name, value in before._asdict().items() if value}
    with _writing(path), contextlib.suppress(AlreadyExistsError, PreconditionError):
        return _put(path, data, condition)
    return None


def delete_object(path: StorePath) -> None:
    """Delete an object, if it exists."""
    with asking(str(path)), contextlib.suppress(FileNotFoundError):
        _delete(path)


def delete_objects(folder: StorePath) -> None:
    """Delete all objects below a prefix, in the order of their names; readers see some of them meanwhile."""
    with contextlib.suppress(FileNotFoundError), asking(str(folder)):
        for path in folder.rglob("*"):
            _delete(path)
        folder.file_system.delete_dir(folder.in_store)


def _put(path: StorePath, data: bytes | pa.Buffer, mode: str | dict[str, str]) -> Version:
    import obstore

    written = obstore.put(client(path.place), path.key, memoryview(data).cast("B"), mode=mode)
    return Version(written["e_tag"], written["version"])


def _read_google(path: StorePath) -> tuple[bytes, Version]:
    with google_errors():
        blob = google_bucket(path.place).blob(path.key)
        content = blob.download_as_bytes(**google_limits())
        return content, Version(version=str(blob.generation))


def _put_google(path: StorePath, data: bytes, before: Version | None) -> Version | None:
    """Write an object if it has this generation; 0 means that there is none."""
    from google.api_core.exceptions import PreconditionFailed

    generation = 0 if before is None else int(before.version or 0)
    with google_errors(), contextlib.suppress(PreconditionFailed):
        blob = google_bucket(path.place).blob(path.key)
        blob.upload_from_string(data, if_generation_match=generation, **google_limits())
        return Version(version=str(blob.generation))
    return None


def _delete(path: StorePath) -> None:
    if path.place.scheme == "abfs":  # pyarrow would leave an object that stands for the empty folder
        import obstore

        obstore.delete(client(path.place), path.key)
    else:
        path.file_system.delete_file(path.in_store)


@contextlib.contextmanager
def _writing(path: StorePath) -> Iterator[None]:
    try:
        with asking(str(path)):
            yield
    except FileNotFoundError:  # of GCS and Azure
        raise no_bucket(str(path)) from None
