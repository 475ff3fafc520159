"""Aliases of versions: found in the log, or refused with the known names."""

import logging
from pathlib import Path

import pytest

from aepipe.bundles.aliases import current, locate, read_log, resolve, versions
from aepipe.errors import BundleCorrupt, BundleNotFound

OLD, NEW = "20261120T020000Z-aaaaaaaa", "20261121T020000Z-bbbbbbbb"
LINE = '{{"alias":"{}","version":"{}","previous":null,"who":"ada","why":"trained","when":"2026-11-2{}T02:00:00Z"}}\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make exported/sales with two versions: the newer is champion now, the older was before."""
    folder = tmp_path / "exported" / "sales"
    for version in (OLD, NEW):
        (folder / version).mkdir(parents=True)
    log = LINE.format("champion", OLD, 0) + LINE.format("challenger", NEW, 1) + LINE.format("champion", NEW, 1)
    (folder / "aliases.jsonl").write_text(log)
    return folder


def test_only_versions_are_listed_oldest_first(folder: Path) -> None:
    (folder / ".staging").mkdir()
    (folder / "20261122T020000Z-cccccccc").write_text("a file")
    (folder / "20261122T020000Z").mkdir()

    assert versions(folder) == (OLD, NEW)
    assert versions(folder / "absent") == ()


def test_the_last_entry_of_an_alias_is_active(folder: Path) -> None:
    assert current(folder) == {"champion": NEW, "challenger": NEW}
    assert [naming.version for naming in read_log(folder)] == [OLD, NEW, NEW]


def test_a_folder_without_a_log_has_no_aliases(tmp_path: Path) -> None:
    assert current(tmp_path) == {}


def test_a_line_cut_by_a_crash_is_skipped_with_a_warning(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (folder / "aliases.jsonl").open("a") as log:
        log.write('{"alias":"champion","ver\n' + LINE.format("champion", OLD, 2) + '{"al')

    with caplog.at_level(logging.WARNING):
        assert current(folder)["champion"] == OLD
        assert current(folder)["champion"] == OLD  # a command reads the log several times, and warns once

    assert [record.getMessage().split(" line ")[1] for record in caplog.records] == [
        "4 is incomplete; it is skipped",
        "6 is incomplete; it is skipped",
    ]


def test_a_complete_but_invalid_line_is_refused(folder: Path) -> None:
    with (folder / "aliases.jsonl").open("a") as log:
        log.write('{"alias":"champion"}\n')

    with pytest.raises(
        BundleCorrupt, match=r"aliases\.jsonl line 4 is not an alias entry\. Restore the file from a copy\.$"
    ):
        current(folder)


def test_a_bundle_is_named_in_full_or_by_its_champion_or_by_an_alias(folder: Path) -> None:
    assert locate(folder / OLD) == folder / OLD
    assert locate(folder) == folder / NEW
    assert locate(folder.with_name("sales@challenger")) == folder / NEW
    assert locate(folder.with_name(f"sales@{OLD}")) == folder / OLD
    assert resolve(folder) == folder / NEW
    assert resolve(folder, OLD) == folder / OLD


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (f"sales/{OLD[:-1]}0", f"sales/{OLD[:-1]}0 does not exist; did you mean '{OLD}'?"),
        ("sale", "sale does not exist; did you mean 'sales'?"),
        ("xyz", "xyz does not exist. Choose one of sales."),
        ("sales@champoin", "sales has no 'champoin'; did you mean 'champion'?"),
        ("sales@best", "sales has no 'best'. Choose one of challenger, champion."),
        (f"sales@{OLD[:-1]}0", f"sales has no version {OLD[:-1]}0; did you mean '{OLD}'?"),
    ],
)
def test_an_unknown_alias_is_refused_with_the_nearest_known_one(folder: Path, name: str, sentence: str) -> None:
    with pytest.raises(BundleNotFound) as refused:
        locate(folder.parent / name)

    assert str(refused.value) == f"{folder.parent}/{sentence}"


def test_a_folder_without_bundles_is_reported_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFound, match=r" has no bundle\. Train one\.$"):
        locate(tmp_path)
    with pytest.raises(BundleNotFound, match=r"sales does not exist\. There are no others\. Train a model\.$"):
        locate(tmp_path / "exported" / "sales")


def test_versions_without_a_champion_are_reported_with_the_remedy(folder: Path) -> None:
    (folder / "aliases.jsonl").unlink()

    with pytest.raises(
        BundleNotFound, match=rf" has 2 versions, but no champion\. Set the alias; the latest version is {NEW}\.$"
    ):
        locate(folder)


def test_an_alias_of_a_removed_version_is_refused(folder: Path) -> None:
    (folder / NEW).rmdir()

    with pytest.raises(
        BundleNotFound, match=rf"{NEW}, the champion, is missing\. Restore that folder, or move the alias"
    ):
        locate(folder)
