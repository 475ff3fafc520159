"""Small bundles for tests: real files, with bytes in place of graphs."""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from aepipe.bundles.bundle import BundleManifest, PartInfo, write_bundle
from aepipe.bundles.golden_rows import Golden
from aepipe.calibration.conformal import Calibration
from aepipe.config.job import parse_job
from aepipe.encoding import Encoding, fit
from aepipe.layout import LatentSpace, Port
from aepipe.tables.kind_inference import infer

NOON = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
ONNX = {"encoder": b"an encoder", "scorer": b"a scorer"}


def rows() -> pa.Table:
    """Twenty rows of a number, a category and a key."""
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
    """What training on those rows would learn."""
    job = parse_job({"name": "sales", "data": {"path": "sales", "keys": ["id"]}}, source=Path("job.toml"))
    return fit(infer(rows().schema, job, rows()), rows().to_batches())


def golden() -> Golden:
    """The rows with made-up answers, one of them missing."""
    score = np.linspace(0, 1, 20, dtype=np.float32)
    score[3] = np.nan
    return Golden(rows(), {"score": score, "z": np.arange(40, dtype=np.float32).reshape(20, 2)})


def manifest(**changes: object) -> BundleManifest:
    """A manifest as training would fill it in."""
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
    """Of twenty scores, which support 5 %."""
    return Calibration.fit(np.arange(20.0), alpha=0.05)


def make_bundle(folder: Path, *, now: datetime = NOON, **changes: object) -> Path:
    """A bundle below `folder`; changes are fields of its manifest."""
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
