"""Small bundles for tests: real files, with graphs of one node."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import pyarrow as pa

from aepipe.bundles.bundle import BundleManifest, PartInfo, write_bundle
from aepipe.bundles.golden_rows import Golden
from aepipe.calibration.conformal import Calibration
from aepipe.config.job import parse_job
from aepipe.encoding import Encoding, fit
from aepipe.layout import LatentSpace, Port
from aepipe.storage import sha256_bytes
from aepipe.storage.atomic_files import json_bytes
from aepipe.tables.kind_inference import infer

NOON = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


def graph(text: str = "z = Add (num, eps)", *, initializers: str = "", takes: str = "num", returns: str = "z") -> bytes:
    """Return an ONNX file in the text format of onnx, with the inputs and outputs of `manifest()`."""
    head = f"g (float[B, 1] {takes}, float[B, 2] eps) => (float[B, 2] {returns})"
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 20]> {head} {initializers} {{ {text} }}')
    return bytes(model.SerializeToString())


ONNX = {"encoder": graph(), "scorer": graph("z = Sub (num, eps)")}


def rows() -> pa.Table:
    """Generate twenty rows of a number, a category and a key."""
    generator = np.random.default_rng(0)
    return pa.table(
        {
            "id": pa.array(range(20), pa.int64()),
            "amount": pa.array([None, *generator.normal(size=19).tolist()], pa.float64()),
            "shop": pa.array(["north", "south"] * 10, pa.dictionary(pa.int32(), pa.string())),
        }
    )


@cache
def encoding() -> Encoding:
    """Fit an encoding to those rows."""
    job = parse_job({"name": "sales", "data": {"path": "sales", "keys": ["id"]}}, source=Path("job.toml"))
    return fit(infer(rows().schema, job, rows()), rows().to_batches())


def golden() -> Golden:
    """Return the rows with made-up outputs, one of them missing."""
    score = np.linspace(0, 1, 20, dtype=np.float32)
    score[3] = np.nan
    return Golden(rows(), {"score": score, "z": np.arange(40, dtype=np.float32).reshape(20, 2)})


def manifest(**changes: object) -> BundleManifest:
    """Return a manifest as training would write it."""
    part = PartInfo(
        inputs=(Port("num", "float32", (1,)), Port("eps", "float32", (2,), "normal")),
        outputs=(Port("z", "float32", (2,)),),
        parity={"7": {"z": {"abs": 1e-7, "rel": 0.0}}},
    )
    facts = {
        "name": "sales",
        "family": "vae",
        "trunk": "mlp",
        "head": "knn",
        "training_key": "xxh3:0",
        "job": {"name": "sales", "train": {"epochs": 3, "from": None}},
        "train_partitions": ("dt=2026-01-01",),
        "rows": {"train": 70, "dev": 10, "calibration": 20},
        "parts": dict.fromkeys(ONNX, part),
        "latent": LatentSpace(names=("z_000", "z_001")),
        "reason_names": ("amount", "shop"),
        "metrics": {"auroc": 0.5, "undefined": None},
    }
    return BundleManifest.model_validate(facts | changes)


def calibration() -> Calibration:
    """Fit a calibration to twenty scores, which support an alpha of 5 %."""
    return Calibration.fit(np.arange(20.0), alpha=0.05)


def make_bundle(folder: Path, *, now: datetime = NOON, **changes: object) -> Path:
    """Write a bundle below `folder`; changes are fields of its manifest."""
    return write_bundle(
        folder,
        manifest(**changes),
        encoding=encoding(),
        onnx=ONNX,
        calibration=calibration(),
        golden=golden(),
        extras={"curve.json": b"[]\n"},
        now=now,
    )


def sealed(folder: Path, change: Callable[[dict[str, Any]], None] = lambda manifest: None) -> Path:
    """Give a changed bundle a consistent manifest and name, as whoever forges one would; return its new folder.

    Args:
        folder: folder of the version, whose files may have been changed.
        change: changes the manifest in place, after sizes and digests were recomputed.
    """
    path = folder / "MANIFEST.json"
    manifest = json.loads(path.read_bytes())
    for name, entry in manifest["files"].items():
        if (folder / name).is_file():
            data = (folder / name).read_bytes()
            entry |= {"sha256": sha256_bytes(data), "bytes": len(data)}
    change(manifest)
    return renamed(folder, json_bytes(manifest))


def renamed(folder: Path, manifest: bytes) -> Path:
    """Replace the manifest by these bytes and rename the folder by their digest."""
    (folder / "MANIFEST.json").write_bytes(manifest)
    return folder.rename(folder.with_name(f"{folder.name[:-8]}{sha256_bytes(manifest)[:8]}"))
