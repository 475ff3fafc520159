"""The next reader removes what a killed writer of a chained log left, but nothing of a live writer."""

import fcntl
from pathlib import Path

from aepipe.storage.atomic_files import remove_abandoned
from aepipe.storage.chained_log import append_chained, chain_faults, chained, remove_unfinished_note


def test_the_temporary_file_of_a_dead_writer_is_removed_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    log, left = tmp_path / "log.jsonl", tmp_path / "..log.jsonl.last.tmp"
    append_chained(log, chained('{"a":1}', b""))
    left.write_text("")

    with left.open("rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        remove_unfinished_note(log)
        assert left.exists()
    remove_unfinished_note(log)

    assert sorted(path.name for path in tmp_path.iterdir()) == [".log.jsonl.last", "log.jsonl"]
    assert chain_faults(log, log.read_bytes(), changed="", incomplete="") == []


def test_nothing_to_remove_and_links_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("kept")
    (tmp_path / ".a.tmp").symlink_to(tmp_path / "elsewhere")

    remove_abandoned(tmp_path / "a")
    remove_abandoned(tmp_path / "b")

    assert (tmp_path / ".a.tmp").is_symlink()
    assert (tmp_path / "elsewhere").read_text() == "kept"
