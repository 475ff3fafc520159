"""Versions and their aliases over time."""

import json
import logging
import multiprocessing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aepipe.bundles.bundle import Bundle
from aepipe.bundles.registry import Registry
from aepipe.errors import BundleCorrupt, BundleNotFound, OptionInvalid
from tests.support.bundles import NOON, make_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make three versions with different training keys and no alias."""
    folder = tmp_path / "exported" / "sales"
    for day in range(3):
        make_bundle(folder, now=NOON + timedelta(days=day), training_key=f"key {day}")
    return folder


def _name(folder: Path, alias: str, version: str) -> str:
    return Registry(folder).set_alias(alias, version, who="ada", why="fewer alarms").version


def test_an_alias_is_set_moved_and_rolled_back(folder: Path) -> None:
    registry = Registry(folder)
    first, second, _ = registry.versions()

    _name(folder, "champion", first)
    _name(folder, "champion", second)
    _name(folder, "champion", first)

    assert registry.aliases() == {"champion": first}
    assert registry.resolve() == folder / first
    assert Bundle.open(folder).path == folder / first
    assert [(naming.version, naming.previous) for naming in registry.history()] == [
        (first, None),
        (second, first),
        (first, second),
    ]


def test_the_log_records_who_when_and_why(folder: Path) -> None:
    before = datetime.now(UTC)
    _name(folder, "champion", Registry(folder).versions()[0])

    (naming,) = Registry(folder).history()
    assert (naming.who, naming.why) == ("ada", "fewer alarms")
    assert before <= naming.when <= datetime.now(UTC)


def test_an_alias_may_be_set_to_another_alias(folder: Path) -> None:
    _, _, latest = Registry(folder).versions()
    _name(folder, "challenger", latest)

    assert _name(folder, "champion", "challenger") == latest


def test_the_champion_at_a_given_time_is_known(folder: Path) -> None:
    registry = Registry(folder)
    first, second, _ = registry.versions()
    _name(folder, "champion", first)
    _name(folder, "challenger", second)
    _name(folder, "champion", second)
    one, _, three = (naming.when for naming in registry.history())

    assert registry.alias_at("champion", one - timedelta(seconds=1)) is None
    assert registry.alias_at("champion", one) == first
    assert registry.alias_at("champion", three - timedelta(microseconds=1)) == first
    assert registry.alias_at("champion", three) == second
    assert registry.alias_at("unknown", three) is None


def test_a_rollback_goes_back_one_change_and_the_next_one_further(folder: Path) -> None:
    registry = Registry(folder)
    first, second, third = registry.versions()
    assert registry.version_before("champion") is None
    for version in (first, second, second, third):
        _name(folder, "champion", version)
    _name(folder, "challenger", first)

    assert registry.version_before("champion") == second
    registry.set_alias("champion", second, who="ada", why="alarms", is_rollback=True)
    assert registry.version_before("champion") == first
    _name(folder, "champion", third)
    assert registry.version_before("champion") == second


def test_the_log_keeps_the_evidence_of_a_change_and_is_read_without_it(folder: Path) -> None:
    registry = Registry(folder)
    first, second, _ = registry.versions()
    _name(folder, "champion", first)
    registry.set_alias("champion", second, who="ada", why="fewer alarms", evidence="xxh3:1", is_rollback=True)

    plain, full = (json.loads(line) for line in (folder / "aliases.jsonl").read_text().splitlines())
    assert list(plain)[:6] == ["alias", "version", "previous", "who", "why", "when"]
    assert not {"evidence", "is_rollback"} & plain.keys()
    assert (full["evidence"], full["is_rollback"]) == ("xxh3:1", True)
    assert [naming.evidence for naming in registry.history()] == [None, "xxh3:1"]


def test_times_never_decrease_even_if_the_clock_does(folder: Path) -> None:
    registry = Registry(folder)
    first, second, _ = registry.versions()
    _name(folder, "champion", first)
    log = folder / "aliases.jsonl"
    log.write_text(log.read_text().replace('"when":"20', '"when":"21'))

    _name(folder, "champion", second)

    earlier, later = registry.history()
    assert earlier.when <= later.when
    assert registry.alias_at("champion", later.when) == second


@pytest.mark.parametrize("alias", ["", "Champion", "20261121T020000Z-bbbbbbbb", "a b", "é", "a" * 65, "champion\n"])
def test_an_ambiguous_alias_is_refused(folder: Path, alias: str) -> None:
    with pytest.raises(
        OptionInvalid,
        match=r"is not an alias: expected a lower-case letter, then lower-case letters, digits, - and _\.$",
    ):
        _name(folder, alias, Registry(folder).versions()[0])
    assert Registry(folder).history() == ()


def test_an_absent_or_corrupt_version_gets_no_alias(folder: Path) -> None:
    version = Registry(folder).versions()[0]
    (folder / version / "scorer.onnx").write_bytes(b"another")

    with pytest.raises(BundleCorrupt, match=r"scorer\.onnx has the wrong size: expected 105 bytes, got 7"):
        _name(folder, "champion", version)
    with pytest.raises(BundleNotFound, match="has no version 20200101T000000Z-00000000"):
        _name(folder, "champion", "20200101T000000Z-00000000")
    assert not (folder / "aliases.jsonl").exists()


def test_aliases_set_by_several_processes_form_one_history(folder: Path) -> None:
    versions = Registry(folder).versions()

    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.starmap(_name, [(folder, "champion", versions[turn % 3]) for turn in range(10)])

    history = Registry(folder).history()
    assert len(history) == 10
    assert [naming.previous for naming in history] == [None, *(naming.version for naming in history[:-1])]
    assert [naming.when for naming in history] == sorted(naming.when for naming in history)


def test_the_newest_intact_version_of_a_training_key_is_found(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    registry = Registry(folder)
    again = make_bundle(folder, now=NOON + timedelta(days=9), training_key="key 1")

    assert registry.find_by_training_key("key 1") == again
    assert registry.find_by_training_key("key 2") == folder / registry.versions()[2]
    assert registry.find_by_training_key("key 7") is None
    assert Registry(folder / "absent").find_by_training_key("key 1") is None

    data = (again / "encoder.onnx").read_bytes()
    (again / "encoder.onnx").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with caplog.at_level(logging.WARNING):
        assert registry.find_by_training_key("key 1") == folder / registry.versions()[1]
    assert "encoder.onnx differs from the exported file" in caplog.text


def _log_of_five(folder: Path) -> Path:
    """Write a log with two lines without a digest, as version 0.1.0 wrote them, and three with one."""
    registry = Registry(folder)
    log = folder / "aliases.jsonl"
    for version in registry.versions()[:2]:
        _name(folder, "champion", version)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    log.write_text("".join(json.dumps(line | {"chain": None}).replace(', "chain": null', "") + "\n" for line in lines))
    for alias in ("challenger", "é", "champion"):
        _name(folder, alias.replace("é", "best"), registry.versions()[2])
    return log


def test_an_unchanged_log_has_no_fault(folder: Path) -> None:
    log = _log_of_five(folder)

    assert ['"chain"' in line for line in log.read_text().splitlines()] == [False, False, True, True, True]
    assert Registry(folder).faults() == []
    assert len(Registry(folder).history()) == 5


@pytest.mark.parametrize("at", range(5))
@pytest.mark.parametrize("change", ["removed", "doubled", "edited", "swapped"])
def test_changed_lines_of_the_log_are_found(folder: Path, at: int, change: str) -> None:
    log = _log_of_five(folder)
    lines = log.read_text().splitlines(keepends=True)
    if change == "removed":
        del lines[at]
    elif change == "doubled":
        lines.insert(at, lines[at])
    elif change == "edited":
        lines[at] = lines[at].replace("ada", "eve")
    else:
        lines[at], lines[at - 1] = lines[at - 1], lines[at]
    log.write_text("".join(lines))

    faults = Registry(folder).faults()

    assert faults
    assert all("was changed" in fault or "has no digest" in fault or "lacks its last" in fault for fault in faults)


def test_an_incomplete_last_line_is_a_fault_until_the_next_entry(folder: Path) -> None:
    log = _log_of_five(folder)
    with log.open("a") as file:
        file.write('{"alias":"cham')

    (fault,) = Registry(folder).faults()
    _name(folder, "champion", Registry(folder).versions()[0])

    assert fault == f"{log} ends in an incomplete line, whose alias was not set. Set the alias again."
    assert Registry(folder).faults() == []
    assert Registry(folder).aliases()["champion"] == Registry(folder).versions()[0]


def test_entries_without_a_digest_after_one_with_a_digest_are_found(folder: Path) -> None:
    log = _log_of_five(folder)
    first = log.read_text().splitlines()[0]
    with log.open("a") as file:
        file.write(f"{first}\n")

    (fault,) = Registry(folder).faults()

    assert "line 6 has no digest, unlike a line before it" in fault
