"""Atomic folders: complete or absent."""

from pathlib import Path

import pytest

from aepipe.storage.atomic_folders import STAGING, put_folder


def test_folder_holds_its_files_and_no_staging_is_left(tmp_path: Path) -> None:
    put_folder(tmp_path / "new", {"a": b"1", "b": b"2"})

    assert {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()} == {"a": b"1", "b": b"2"}
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_leftover_of_a_killed_writer_is_cleared(tmp_path: Path) -> None:
    (tmp_path / STAGING).mkdir()
    (tmp_path / STAGING / "stray").write_bytes(b"")

    put_folder(tmp_path / "new", {"a": b"1"})

    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a"]


def test_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        put_folder(tmp_path / "new", {"a": b"1", "b": "text"})  # type: ignore[dict-item]

    assert list(tmp_path.iterdir()) == []


def test_folder_that_holds_files_is_not_replaced(tmp_path: Path) -> None:
    put_folder(tmp_path / "old", {"a": b"1"})

    with pytest.raises(OSError, match="not empty"):
        put_folder(tmp_path / "old", {"a": b"2"})

    assert (tmp_path / "old" / "a").read_bytes() == b"1"
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
