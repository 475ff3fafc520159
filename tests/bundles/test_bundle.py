"""Bundles: complete or refused when opened, complete or absent when written."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aepipe.bundles.bundle import CONTRACT, LOCK, Bundle, write_bundle
from aepipe.errors import BundleCorrupt, BundleNotFound, BundleTooNew, Busy
from aepipe.layout import Port
from aepipe.storage import lock, sha256_bytes
from tests.support.bundles import NOON, ONNX, calibration, encoding, golden, make_bundle, manifest, rows

FILES = {
    "MANIFEST.json",
    "schema.json",
    "calibration.json",
    "golden.parquet",
    "encoder.onnx",
    "scorer.onnx",
    "curve.json",
}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a bundle that no test changes."""
    return make_bundle(tmp_path_factory.mktemp("exported") / "sales")


@pytest.fixture
def bundle(pristine: Path, tmp_path: Path) -> Path:
    """Copy the pristine bundle to exported/sales/<version>."""
    return Path(shutil.copytree(pristine, tmp_path / "exported" / "sales" / pristine.name))


def test_a_written_bundle_is_read_back(pristine: Path) -> None:
    found = Bundle.open(pristine)

    expected = manifest()
    assert found.manifest == expected.model_copy(
        update={"created_at": "2026-11-21T12:00:00Z", "files": found.manifest.files}
    )
    assert found.manifest.parts["encoder"].inputs[1] == Port("eps", "float32", (2,), "normal")
    assert found.encoding == encoding()
    assert found.calibration == calibration()
    assert {name: found.part(name)[0] for name in found.manifest.parts} == ONNX
    assert found.files["curve.json"] == b"[]\n"
    assert found.version == f"sales/{pristine.name}"


def test_golden_rows_round_trip_in_source_types_with_their_outputs(pristine: Path) -> None:
    found = Bundle.open(str(pristine)).golden

    assert found.rows.equals(rows())
    assert found.rows.schema.equals(rows().schema)
    assert all(values.dtype == np.float32 for values in found.answers.values())
    np.testing.assert_array_equal(found.answers["score"], golden().answers["score"])
    np.testing.assert_array_equal(found.answers["z"], golden().answers["z"])


def test_the_folder_is_named_by_the_time_and_the_digest_of_its_manifest(pristine: Path) -> None:
    digest = sha256_bytes((pristine / "MANIFEST.json").read_bytes())

    assert pristine.name == f"20261121T120000Z-{digest[:8]}"
    assert {path.name for path in pristine.iterdir()} == FILES


def test_the_manifest_records_digest_and_size_of_every_file(pristine: Path) -> None:
    entries = json.loads((pristine / "MANIFEST.json").read_text())["files"]

    measured = {name: (pristine / name).read_bytes() for name in FILES - {"MANIFEST.json"}}
    assert entries == {name: {"sha256": sha256_bytes(data), "bytes": len(data)} for name, data in measured.items()}


def test_the_same_contents_at_the_same_time_are_the_same_bundle(tmp_path: Path) -> None:
    first, again = make_bundle(tmp_path), make_bundle(tmp_path)
    later = make_bundle(tmp_path, now=NOON + timedelta(seconds=1))

    assert first == again
    assert later.name.startswith("20261121T120001Z-")
    assert sorted(path.name for path in tmp_path.iterdir()) == [LOCK, first.name, later.name]


def _flip(path: Path, place: int, mask: int) -> None:
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= mask
    path.write_bytes(data)


@settings(max_examples=150)
@given(st.sampled_from(sorted(FILES)), st.integers(0, 2**20), st.integers(1, 255))
def test_any_changed_byte_is_refused_and_its_file_named(
    pristine: Path, tmp_path_factory: pytest.TempPathFactory, name: str, place: int, mask: int
) -> None:
    copy = Path(shutil.copytree(pristine, tmp_path_factory.mktemp("copy") / pristine.name))
    _flip(copy / name, place, mask)

    with pytest.raises(BundleCorrupt) as refused:
        Bundle.open(copy)

    assert str(refused.value).startswith(f"{copy / name} ")
    assert "Restore" in str(refused.value)
    shutil.rmtree(copy.parent)


def _edit_manifest(bundle: Path, **changes: object) -> Path:
    """Change the manifest, and rename the folder to match."""
    edited = json.dumps(json.loads((bundle / "MANIFEST.json").read_text()) | changes).encode()
    (bundle / "MANIFEST.json").write_bytes(edited)
    return bundle.rename(bundle.with_name(f"20261121T120000Z-{sha256_bytes(edited)[:8]}"))


def _cut(bundle: Path) -> Path:
    (bundle / "scorer.onnx").write_bytes(ONNX["scorer"][:5])
    return bundle


def _lose(name: str) -> Callable[[Path], Path]:
    def lose(bundle: Path) -> Path:
        (bundle / name).unlink()
        return bundle

    return lose


def _add(name: str) -> Callable[[Path], Path]:
    def add(bundle: Path) -> Path:
        (bundle / name).mkdir() if name == "folder" else (bundle / name).write_bytes(b"")
        return bundle

    return add


def _turn_into_folder(bundle: Path) -> Path:
    (bundle / "encoder.onnx").unlink()
    (bundle / "encoder.onnx").mkdir()
    return bundle


def _reformat(bundle: Path) -> Path:
    (bundle / "MANIFEST.json").write_bytes((bundle / "MANIFEST.json").read_bytes() + b"\n")
    return bundle


def _rename(bundle: Path) -> Path:
    return bundle.rename(bundle.with_name("best"))


def _postdate(bundle: Path) -> Path:
    return bundle.rename(bundle.with_name(bundle.name.replace("2026", "2027")))


RESTORE = "Restore the bundle from a copy, or train again."


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (_cut, f"scorer.onnx has the wrong size: expected {len(ONNX['scorer'])} bytes, got 5. {RESTORE}"),
        (_lose("schema.json"), f"schema.json is missing. {RESTORE}"),
        (_lose("MANIFEST.json"), f"MANIFEST.json is missing. {RESTORE}"),
        (_add("notes.txt"), "notes.txt is not part of the bundle. Remove it from the folder."),
        (_add("folder"), "folder is not part of the bundle. Remove it from the folder."),
        (_turn_into_folder, f"encoder.onnx cannot be read: it is a folder: expected a regular file. {RESTORE}"),
        (_reformat, f"expected the one in the folder's name. {RESTORE}"),
        (_rename, f"expected the one in the folder's name. {RESTORE}"),
        (_postdate, f"its folder's name: its creation time is 2026-11-21T12:00:00Z. {RESTORE}"),
        (
            lambda bundle: _edit_manifest(bundle, colour="red"),
            "MANIFEST.json is intact, but this version of aepipe cannot read it: "
            "BundleManifest colour: Extra inputs are not permitted. Train again.",
        ),
        (
            lambda bundle: _edit_manifest(bundle, latent={"names": ["c_000"]}),
            "is intact, but this version of aepipe cannot read it: "
            'Field "expected:c_000" does not exist in schema. Train again.',
        ),
    ],
)  # fmt: skip
def test_damaged_bundle_is_rejected(bundle: Path, spoil: Callable[[Path], Path], sentence: str) -> None:
    spoiled = spoil(bundle)

    with pytest.raises(BundleCorrupt) as refused:
        Bundle.open(spoiled)

    assert str(spoiled) in str(refused.value)
    assert str(refused.value).endswith(sentence)
    assert "\n" not in str(refused.value)


def test_a_bundle_of_a_newer_contract_is_refused(bundle: Path) -> None:
    newer = _edit_manifest(bundle, contract=CONTRACT + 1, unheard_of=True)

    with pytest.raises(BundleTooNew) as refused:
        Bundle.open(newer)

    assert str(refused.value) == (
        f"{newer}/MANIFEST.json is too new: expected contract {CONTRACT} or lower, got {CONTRACT + 1}. "
        "Upgrade aepipe, or train again."
    )


def test_missing_part_is_reported_with_the_parts_of_the_family(pristine: Path) -> None:
    with pytest.raises(BundleNotFound, match=r"has no part 'prior': the parts of a vae are encoder, scorer\.$"):
        Bundle.open(pristine).part("prior")


def test_a_bundle_is_opened_through_a_link_and_from_within(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = bundle.with_name("latest")
    link.symlink_to(bundle.name)
    monkeypatch.chdir(bundle)

    assert Bundle.open(link).version == Bundle.open(".").version == f"sales/{bundle.name}"


def test_nothing_is_read_from_disk_after_opening(bundle: Path) -> None:
    found = Bundle.open(bundle)
    shutil.rmtree(bundle)

    assert found.part("scorer")[0] == ONNX["scorer"]
    assert found.calibration.threshold == 19.0
    with pytest.raises(TypeError):
        found.files["scorer.onnx"] = b""  # type: ignore[index]


@pytest.mark.parametrize("name", ["schema.json", "MANIFEST.json", "../outside", ".hidden", "a/b"])
def test_an_extra_file_cannot_replace_another_or_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"extra file name .* is reserved or invalid"):
        _write(tmp_path / "sales", extras={name: b""})
    assert not (tmp_path / "sales").exists()


def test_parts_and_graphs_have_the_same_names(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected \['encoder', 'scorer'\], got \['encoder'\]"):
        _write(tmp_path / "sales", onnx={"encoder": b""})


def test_a_family_without_latents_has_golden_rows_too(tmp_path: Path) -> None:
    answers = golden()._replace(answers={"score": golden().answers["score"]})
    path = _write(tmp_path, golden=answers, manifest=manifest(latent={"names": (), "is_written": False}))

    assert set(Bundle.open(path).golden.answers) == {"score"}


def _write(folder: Path, **changes: object) -> Path:
    arguments: dict[str, object] = {
        "manifest": manifest(),
        "encoding": encoding(),
        "onnx": ONNX,
        "calibration": calibration(),
        "golden": golden(),
        "now": NOON,
    }
    return write_bundle(folder, **(arguments | changes))  # type: ignore[arg-type]


def test_a_second_writer_of_the_same_name_waits_and_then_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aepipe.bundles.bundle._WAIT_S", 0.1)

    with lock(tmp_path / LOCK), pytest.raises(Busy, match=f"held by process {os.getpid()}"):
        make_bundle(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == [LOCK]


CRASH = """
import os, sys
from pathlib import Path
from tests.support.bundles import make_bundle

folder, seen, step = Path(sys.argv[1]), 0, 0
make_bundle(folder / "whole")


def crash(event, arguments):
    global seen
    if event in {"open", "os.rename", "os.mkdir", "os.rmdir", "os.remove"} and str(folder) in str(arguments[0]):
        seen += 1
        if seen == step:
            os._exit(9)


sys.addaudithook(crash)
code = 9
while code == 9:
    step += 1
    child = os.fork()
    if child == 0:
        make_bundle(folder / str(step))
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(step, code)
"""


@pytest.mark.slow
def test_a_process_killed_at_any_step_leaves_a_complete_bundle_or_none(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", CRASH, str(tmp_path)]
    finished = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])

    steps, code = map(int, finished.stdout.split())
    assert code == 0
    assert steps > 20
    for step in range(1, steps):
        folder = tmp_path / str(step)
        for path in _visible(folder):
            Bundle.open(path)
        written = make_bundle(folder)
        assert _visible(folder) == [written]
        assert not (folder / ".staging").exists()
        Bundle.open(written)


def _visible(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.exists() else []
