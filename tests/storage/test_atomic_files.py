"""Atomic files: complete or absent, whatever interrupts the writer."""

import errno
import json
import math
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aepipe.storage import append_line, append_lines, make_folder, put_bytes, put_if_changed, put_json, replace
from aepipe.storage.atomic_files import json_bytes, replacing

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_put_makes_the_folders_and_leaves_only_the_file(tmp_path: Path) -> None:
    put_bytes(tmp_path / "a" / "b" / "file", b"one")

    assert (tmp_path / "a" / "b" / "file").read_bytes() == b"one"
    assert names(tmp_path / "a" / "b") == ["file"]


def test_put_if_changed_leaves_a_file_with_the_same_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    put_bytes(path, b"one")
    before = path.stat()

    put_if_changed(path, b"one")
    assert path.stat().st_ino == before.st_ino
    assert path.stat().st_mtime_ns == before.st_mtime_ns

    put_if_changed(path, b"two")
    assert path.read_bytes() == b"two"
    assert names(tmp_path) == ["file"]


def test_put_replaces_the_file_and_never_writes_into_it(tmp_path: Path) -> None:
    put_bytes(tmp_path / "file", b"old")
    with (tmp_path / "file").open("rb") as reader:
        put_bytes(tmp_path / "file", b"newer")

        assert reader.read() == b"old"
    assert (tmp_path / "file").read_bytes() == b"newer"


def test_put_gives_default_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").write_bytes(b"")
    put_bytes(tmp_path / "put", b"")

    assert stat.filemode((tmp_path / "put").stat().st_mode) == stat.filemode((tmp_path / "usual").stat().st_mode)


def test_exception_leaves_the_old_file_alone(tmp_path: Path) -> None:
    put_bytes(tmp_path / "file", b"old")

    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "file") as temp:
        temp.write_bytes(b"half")
        raise KeyboardInterrupt

    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_leftover_of_a_killed_writer_is_overwritten(tmp_path: Path) -> None:
    with replacing(tmp_path / "file") as temp:
        left = temp
        temp.write_bytes(b"new")
    left.write_bytes(b"half of something that was longer")

    put_bytes(tmp_path / "file", b"newer")

    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"newer"


def test_temporary_names_are_not_data_to_any_reader(tmp_path: Path) -> None:
    with replacing(tmp_path / "part-0.parquet") as temp:
        temp.write_bytes(b"")

        assert temp.suffix != ".parquet"
        assert temp.name.startswith(".")
        assert temp.parent == tmp_path


def test_writers_of_one_file_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "file"
    put_bytes(path, b"a" * 50_000)

    def write(letter: bytes) -> set[int]:
        found = set()
        for _ in range(25):
            put_bytes(path, letter * 50_000)
            data = path.read_bytes()
            found.add(len(data) if len(set(data)) == 1 else -1)
        return found

    with ThreadPoolExecutor(4) as pool:
        seen = set().union(*pool.map(write, [b"a", b"b", b"c", b"d"]))

    assert seen == {50_000}
    assert names(tmp_path) == ["file"]


@given(JSON)
def test_json_reads_back(value: object) -> None:
    assert json.loads(json_bytes(value)) == value


def test_json_is_the_same_for_any_order_of_keys(tmp_path: Path) -> None:
    put_json(tmp_path / "one", {"b": [1, 2], "a": "é"})
    put_json(tmp_path / "two", {"a": "é", "b": [1, 2]})

    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (tmp_path / "one").read_text() == '{\n "a": "é",\n "b": [\n  1,\n  2\n ]\n}\n'


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_refuses_nan_and_infinity(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        put_json(tmp_path / "file", {"threshold": value})

    assert names(tmp_path) == []


def test_lines_of_several_writers_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "log" / "aliases.jsonl"

    def write(writer: int) -> None:
        for number in range(10):
            append_line(path, f"{writer}:{number}:" + "x" * 5_000)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))

    lines = path.read_text().splitlines()
    assert sorted(lines) == sorted(f"{w}:{n}:" + "x" * 5_000 for w in range(4) for n in range(10))
    assert [line for line in lines if line.startswith("2:")] == [f"2:{n}:" + "x" * 5_000 for n in range(10)]


def test_line_after_a_torn_one_is_readable(tmp_path: Path) -> None:
    (tmp_path / "log").write_text('{"a": 1}\n{"b"')

    append_line(tmp_path / "log", '{"c": 3}')

    assert (tmp_path / "log").read_text() == '{"a": 1}\n{"b"\n{"c": 3}\n'


def test_lines_are_written_with_one_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (synced.append(descriptor), sync(descriptor))[1])

    append_lines(tmp_path / "log", [str(number) for number in range(1_000)])

    assert len((tmp_path / "log").read_text().splitlines()) == 1_000
    assert len(synced) <= 3  # the file, and its folder


def test_a_full_disk_leaves_none_of_the_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append_line(tmp_path / "log", "before")
    write = os.write

    def fill(descriptor: int, data: bytes) -> int:
        if len(data) < 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data[:5])

    monkeypatch.setattr(os, "write", fill)
    with pytest.raises(OSError, match="No space left"):
        append_lines(tmp_path / "log", ["first", "second"])

    assert (tmp_path / "log").read_text() == "before\n"


def test_line_with_a_newline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="line has a newline"):
        append_line(tmp_path / "log", "a\nb")

    assert names(tmp_path) == []


def test_replace_moves_a_folder_under_new_parents(tmp_path: Path) -> None:
    make_folder(tmp_path / "staged")
    put_bytes(tmp_path / "staged" / "file", b"1")

    replace(tmp_path / "staged", tmp_path / "models" / "v1")

    assert names(tmp_path) == ["models"]
    assert (tmp_path / "models" / "v1" / "file").read_bytes() == b"1"


def test_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    put_bytes(tmp_path / "out", b"")

    with pytest.raises((FileExistsError, NotADirectoryError)):
        put_bytes(tmp_path / "out" / "file", b"")


def test_file_without_rights_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    tmp_path.chmod(0o500)

    with pytest.raises(PermissionError):
        put_bytes(tmp_path / "file", b"")
