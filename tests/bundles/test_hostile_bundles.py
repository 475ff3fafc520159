"""Hostile bundles: each is refused in one sentence, and nothing outside its folder is read.

Manifests and names are consistent with the files, as a forger would make them.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from aepipe.bundles import graph_check, onnx_messages
from aepipe.bundles.aliases import LOG_NAME
from aepipe.bundles.bundle import Bundle
from aepipe.bundles.graph_check import graph_faults
from aepipe.bundles.registry import Registry
from aepipe.errors import BundleCorrupt
from tests.support import linear_bundle
from tests.support.bundles import graph, make_bundle, renamed, sealed


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a bundle that no test changes."""
    return make_bundle(tmp_path_factory.mktemp("exported") / "sales")


@pytest.fixture
def bundle(pristine: Path, tmp_path: Path) -> Path:
    """Copy the pristine bundle to exported/sales/<version>."""
    return Path(shutil.copytree(pristine, tmp_path / "exported" / "sales" / pristine.name))


def refusal(folder: Path) -> str:
    """Return the sentence with which a bundle is refused."""
    with pytest.raises(BundleCorrupt) as caught:
        Bundle.open(folder)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.isprintable()
    return sentence


def test_a_resealed_bundle_opens_like_the_original(bundle: Path) -> None:
    assert Bundle.open(sealed(bundle)).manifest.name == "sales"


@pytest.mark.parametrize(
    "name", ["../pipe", "/dev/zero", "/etc/passwd", "a/b", "..", ".", "", ".hidden", "a\0b", "a\nb", "é", "x" * 200]
)
def test_file_names_are_plain_names(bundle: Path, name: str) -> None:
    os.mkfifo(bundle.parent / "pipe")  # opening it would block

    found = refusal(sealed(bundle, lambda m: m["files"].update({name: {"sha256": "0" * 64, "bytes": 1}})))

    assert "BundleManifest files" in found


@pytest.mark.parametrize("name", ["../../evil", "/evil", "", "a/b", "a b", "-x", "x" * 65])
def test_bundle_names_are_names_of_jobs(bundle: Path, name: str) -> None:
    assert "BundleManifest name" in refusal(sealed(bundle, lambda m: m.update(name=name)))


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _link_to(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


@pytest.mark.parametrize(
    ("replace", "sentence"),
    [
        (_pipe, "it is a pipe: expected a regular file"),
        (_link_to("/dev/zero"), "it is a link: expected a regular file"),
        (_link_to("../../outside"), "it is a link: expected a regular file"),
        (Path.mkdir, "it is a folder: expected a regular file"),
        (lambda path: os.truncate(_touched(path), 1 << 40), "it is too large: expected 1,048,576 bytes at most"),
    ],
)
@pytest.mark.parametrize("name", ["encoder.onnx", "schema.json", "golden.parquet"])
def test_only_regular_files_of_the_stated_size_are_read(
    bundle: Path, name: str, replace: Callable[[Path], None], sentence: str
) -> None:
    (bundle.parent.parent / "outside").write_bytes((bundle / name).read_bytes())
    (bundle / name).unlink()
    replace(bundle / name)

    assert f"{name} cannot be read: {sentence}" in refusal(bundle)


def _touched(path: Path) -> Path:
    path.touch()
    return path


@pytest.mark.parametrize("replace", [_pipe, _link_to("/dev/zero")])
@pytest.mark.parametrize("name", ["MANIFEST.json", LOG_NAME])
def test_manifest_and_log_are_regular_files_too(bundle: Path, name: str, replace: Callable[[Path], None]) -> None:
    path = bundle / name if name == "MANIFEST.json" else bundle.parent / name
    path.unlink(missing_ok=True)
    replace(path)

    with pytest.raises(BundleCorrupt, match="expected a regular file"):
        Bundle.open(bundle) if name == "MANIFEST.json" else Registry(bundle.parent).aliases()


@pytest.mark.parametrize(
    "line",
    [
        '{"alias":"champion","version":"../../evil","previous":null,"who":"a","why":"b","when":"2026-01-01T00:00:00Z"}',
        '{"alias":"champion","version":"20261121T120000Z-00000000","previous":null,"who":"a","why":"b",'
        '"when":"2026-01-01T00:00:00Z","evidence":"xxh3:../../../etc/passwd"}',
    ],
)
def test_log_entries_hold_no_paths(bundle: Path, line: str) -> None:
    (bundle.parent / LOG_NAME).write_text(f"{line}\n")

    with pytest.raises(BundleCorrupt, match="line 1 is not an alias entry"):
        Registry(bundle.parent).faults()


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"contract": "two"}',
        b'{"contract": [1]}',
        b"[" * 100_000,
        b'{"contract": 1, "name": "sales"',
        b'{"contract": 1e999}',
    ],
)
def test_invalid_manifests_are_refused_in_one_sentence(bundle: Path, manifest: bytes) -> None:
    assert "cannot read it" in refusal(renamed(bundle, manifest))


@pytest.mark.parametrize("name", ["scorer.onnx", "schema.json", "calibration.json", "golden.parquet"])
def test_required_files_cannot_be_missing(bundle: Path, name: str) -> None:
    (bundle / name).unlink()

    assert f"files has no {name}" in refusal(sealed(bundle, lambda m: m["files"].pop(name)))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("schema.json", b"{}"),
        ("schema.json", b'{"schema": {"arrow": "AAAA"}}'),
        ("calibration.json", b"[[[["),
        ("golden.parquet", b"PAR1"),
        ("golden.parquet", b""),
        ("encoder.onnx", b"an encoder"),
        ("encoder.onnx", b""),
    ],
)
def test_invalid_contents_are_refused_in_one_sentence(bundle: Path, name: str, content: bytes) -> None:
    (bundle / name).write_bytes(content)

    assert len(refusal(sealed(bundle)).splitlines()) == 1


HUGE = "int64[2] big = {65536, 65536}"
LOOP = "body (int64 i, bool a, float[B, 2] s) => (bool b, float[B, 2] t) { b = Identity(a) t = Identity(s) }"


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (graph("z = evil.Op (num, eps)"), "needs the operator evil.Op"),
        (graph("y = ConstantOfShape (big) z = Add (num, eps)", initializers=f"<{HUGE}>"), "makes a tensor of 4.29e+09"),
        (
            graph("b = Constant <value_ints = [2147483648]> () y = ConstantOfShape (b) z = Add (num, eps)"),
            "of 2.15e+09",
        ),
        (graph("y = Expand (num, big) z = Add (num, eps)", initializers=f"<{HUGE}>"), "by Expand"),
        (graph("y = Tile (num, big) z = Add (num, eps)", initializers=f"<{HUGE}>"), "by Tile"),
        (graph("y = RandomNormal <shape = [65536, 65536]> () z = Add (num, eps)"), "by RandomNormal"),
        (
            graph(
                "r = Range (a, b, c) z = Add (num, eps)",
                initializers="<int64 a = {0}, int64 b = {9000000000000}, int64 c = {1}>",
            ),
            "by Range",
        ),
        (
            graph(
                f"y = Loop <body = {LOOP}> (n, go, eps) z = Add (num, eps)",
                initializers="<int64 n = {4611686018427387904}, bool go = {1}>",
            ),
            "has a loop of 4,611,686,018,427,387,904 trips",
        ),
        (
            graph(f'y = Loop <body = {LOOP}> ("", go, eps) z = Add (num, eps)', initializers="<bool go = {1}>"),
            "is not a constant",
        ),
        (graph(takes="other", text="z = Add (other, eps)"), "takes other, eps: expected num, eps"),
        (graph("y = Add (num, eps)", returns="y"), "returns y: expected z"),
    ],
)
def test_graphs_that_could_harm_are_refused_before_they_are_opened(bundle: Path, data: bytes, fault: str) -> None:
    (bundle / "scorer.onnx").write_bytes(data)

    found = refusal(sealed(bundle))

    assert "scorer.onnx" in found
    assert fault in found


def _faults(model: onnx.ModelProto) -> str:
    return "; ".join(graph_faults(model.SerializeToString(), inputs=["num", "eps"], outputs=["z"]))


def _tensor(**changes: object) -> onnx.TensorProto:
    tensor = numpy_helper.from_array(np.ones(3, np.float32), "weight")
    for name, value in changes.items():
        setattr(tensor, name, value)
    return tensor


@pytest.mark.parametrize("place", ["initializer", "attribute", "inner graph"])
@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (
            lambda tensor: setattr(tensor, "data_location", TensorProto.EXTERNAL),
            "keeps tensor 'weight' in another file",
        ),
        (lambda tensor: tensor.external_data.add(key="location", value="/etc/passwd"), "in another file"),
        (lambda tensor: tensor.dims.extend([1 << 31]), "declares tensor 'weight' of shape [3, 2147483648] without"),
        (lambda tensor: tensor.dims.append(-3), "declares tensor 'weight' of shape [3, -3] without"),
    ],
)
def test_tensors_hold_their_values_in_every_place_of_a_graph(
    place: str, spoil: Callable[[onnx.TensorProto], None], fault: str
) -> None:
    model = onnx.load_model_from_string(graph())
    tensor = _tensor()
    spoil(tensor)
    constant = helper.make_node("Constant", [], ["w"], value=tensor)
    if place == "initializer":
        model.graph.initializer.append(tensor)
    elif place == "attribute":
        model.graph.node.append(constant)
    else:
        inner = helper.make_graph([constant], "inner", [], [])
        model.graph.node.append(helper.make_node("If", ["num"], ["y"], then_branch=inner, else_branch=inner))

    assert fault in _faults(model)


def test_functions_training_graphs_and_sparse_tensors_are_refused() -> None:
    function, training, sparse = (onnx.load_model_from_string(graph()) for _ in range(3))
    function.functions.add(name="f", domain="local")
    training.training_info.add()
    sparse.graph.sparse_initializer.add()

    assert "has local functions" in _faults(function)
    assert "has training graphs" in _faults(training)
    assert "has sparse tensors" in _faults(sparse)


def test_iterations_of_nested_loops_are_multiplied() -> None:
    text = (
        "y = Loop <body = outer (int64 j, bool c, float[B, 2] u) => (bool d, float[B, 2] v) { d = Identity(c) "
        f"v = Loop <body = {LOOP}> (n, go, u) }}> (n, go, eps) z = Add (num, eps)"
    )
    data = graph(text, initializers="<int64 n = {2000}, bool go = {1}>")

    assert graph_faults(data, inputs=["num", "eps"], outputs=["z"]) == [
        "has a loop of 4,000,000 trips: expected 1,000,000 at most"
    ]


@pytest.mark.slow
def test_fuzzed_bundles_end_in_one_sentence_and_touch_nothing_outside(tmp_path: Path) -> None:
    base = linear_bundle.make_bundle(tmp_path, linear_bundle.numbers(60)).path
    count = int(os.environ.get("AEPIPE_FUZZED_BUNDLES", "250"))

    done = subprocess.run(
        [sys.executable, "-m", "tests.bundles.fuzz", str(base), "0", str(count)],
        capture_output=True, text=True, timeout=60 + count, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr[-3_000:]
    counts = json.loads(done.stdout)
    assert counts["opened"] + counts["refused"] == count
    assert counts["refused"] > count / 2


def test_a_graph_is_parsed_once_for_each_list_of_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    data, parsed = graph("z = Sub (num, eps)"), list[bytes]()
    parse = onnx_messages.parse_model
    monkeypatch.setattr(onnx_messages, "parse_model", lambda content: parsed.append(content) or parse(content))
    monkeypatch.setattr(graph_check, "_remembered", {})

    found = [graph_faults(data, inputs=inputs, outputs=["z"]) for inputs in (["num", "eps"], ["num", "eps"], ["other"])]

    assert found[0] == found[1]
    assert found[2] != found[0]
    assert len(parsed) == 2
