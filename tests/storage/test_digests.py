"""Digests, compared with xxhash and hashlib."""

import hashlib
from pathlib import Path

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from aepipe.errors import DataUnreadable
from aepipe.storage import digest_bytes, digest_file, digest_of, sha256_bytes

PARTS = st.lists(st.binary(max_size=5) | st.text(max_size=5), max_size=4)


def as_bytes(part: str | bytes) -> bytes:
    return part.encode() if isinstance(part, str) else part


@given(st.binary(max_size=200))
def test_digest_of_bytes_is_their_xxh3_of_128_bits(data: bytes) -> None:
    assert digest_bytes(data) == "xxh3:" + xxhash.xxh3_128_hexdigest(data)


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_digest_of_a_file_is_that_of_its_bytes(tmp_path: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    (tmp_path / "file").write_bytes(data)

    assert digest_file(tmp_path / "file") == digest_bytes(data)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_error_of_check_stops_the_digest(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "file").write_bytes(bytes(3 << 20))
    asked: list[None] = []

    def check() -> None:
        asked.append(None)
        if len(asked) == 2:
            raise error

    with pytest.raises(error):
        digest_file(tmp_path / "file", check=check)
    assert len(asked) == 2


def test_digest_of_an_absent_file_says_which(tmp_path: Path) -> None:
    with pytest.raises(DataUnreadable, match=r"part-7\.parquet cannot be read: No such file"):
        digest_file(tmp_path / "part-7.parquet")


def test_digest_of_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataUnreadable, match="is a folder"):
        digest_file(tmp_path)


@given(PARTS)
def test_key_is_the_digest_of_the_parts_each_after_its_length(parts: list[str | bytes]) -> None:
    joined = b"".join(len(as_bytes(part)).to_bytes(8, "little") + as_bytes(part) for part in parts)

    assert digest_of(*parts) == digest_bytes(joined)


@given(PARTS, PARTS)
def test_keys_are_equal_only_for_equal_parts(left: list[str | bytes], right: list[str | bytes]) -> None:
    same = [as_bytes(part) for part in left] == [as_bytes(part) for part in right]

    assert (digest_of(*left) == digest_of(*right)) == same


@given(st.lists(st.text(min_size=1, max_size=4), min_size=2, max_size=4), st.data())
def test_moving_a_letter_to_the_next_part_changes_the_key(parts: list[str], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(parts) - 2))
    moved = [*parts]
    moved[index], moved[index + 1] = parts[index][:-1], parts[index][-1] + parts[index + 1]

    assert digest_of(*moved) != digest_of(*parts)


def test_file_name_that_is_not_utf8_has_a_key() -> None:
    name = b"dt=\xff".decode("utf-8", "surrogateescape")

    assert digest_of(name) != digest_of("dt=?")


@given(st.binary(max_size=200))
def test_sha256_is_that_of_hashlib(data: bytes) -> None:
    assert sha256_bytes(data) == hashlib.sha256(data).hexdigest()
