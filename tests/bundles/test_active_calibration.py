"""Active calibration of a bundle, also after a power cut during logging."""

import json
from pathlib import Path

import pytest

from aepipe.bundles.active_calibration import LOG, activate_calibration, faults, with_active_calibration
from aepipe.bundles.bundle import Bundle
from aepipe.errors import CalibrationInvalid
from tests.support.bundles import calibration, make_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle.open(make_bundle(tmp_path / "exported" / "sales"))


def test_the_last_line_of_each_version_is_active(tmp_path: Path, bundle: Bundle) -> None:
    first, last = calibration().with_alpha(0.1), calibration().with_alpha(0.2)

    activate_calibration(tmp_path, bundle.version, first, who="a", why="b")
    activate_calibration(tmp_path, bundle.version, last, who="a", why="b")
    activate_calibration(tmp_path, "sales/other", first, who="a", why="b")

    assert with_active_calibration(tmp_path, bundle).calibration == last
    assert with_active_calibration(tmp_path, bundle).manifest == bundle.manifest
    assert faults(tmp_path) == []


def test_without_a_line_the_bundle_is_unchanged(tmp_path: Path, bundle: Bundle) -> None:
    assert with_active_calibration(tmp_path, bundle) is bundle
    activate_calibration(tmp_path, "sales/other", calibration().with_alpha(0.1), who="a", why="b")
    assert with_active_calibration(tmp_path, bundle) is bundle


def test_damaged_lines_are_skipped_with_one_warning_each(
    tmp_path: Path, bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    first = calibration().with_alpha(0.1)
    folder = activate_calibration(tmp_path, bundle.version, first, who="a", why="b").parent
    with (folder / LOG).open("ab") as file:
        file.write(b'\xff\x00half\n[1]\n{"version": "1"}\n{"version": "' + bundle.version.encode())

    for _ in range(2):
        assert with_active_calibration(tmp_path, bundle).calibration == first

    numbers = [record.getMessage().split(" line ")[1] for record in caplog.records]
    assert numbers == [f"{number} is incomplete; it is skipped" for number in (2, 3, 4, 5)]


@pytest.mark.parametrize("digest", ["xxh3:\0", "xxh3:../../job", "", "1"])
def test_a_line_without_a_digest_is_refused(tmp_path: Path, bundle: Bundle, digest: str) -> None:
    folder = activate_calibration(tmp_path, bundle.version, calibration(), who="a", why="b").parent
    record = json.loads((folder / LOG).read_text())
    (folder / LOG).write_text(json.dumps({**record, "digest": digest}) + "\n")

    with pytest.raises(CalibrationInvalid, match=r"log\.jsonl was changed: expected a digest, got '.*'\. Restore"):
        with_active_calibration(tmp_path, bundle)
    assert any("expected a digest" in fault for fault in faults(tmp_path))


def test_a_missing_file_is_a_fault(tmp_path: Path, bundle: Bundle) -> None:
    path = activate_calibration(tmp_path, bundle.version, calibration().with_alpha(0.1), who="a", why="b")
    path.unlink()

    assert faults(tmp_path) == [f"{path} cannot be read: No such file or directory. Run aepipe calibrate again."]
