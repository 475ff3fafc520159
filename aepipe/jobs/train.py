"""Trains a model, exports it and calibrates it: from a job file to a bundle."""

import getpass
import importlib.metadata
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import Field

from aepipe import families, heads
from aepipe.batch.runner import Runner
from aepipe.batch.session import Session, usable_device
from aepipe.bundle import BundleManifest, Golden, Latent, write_bundle
from aepipe.calibration import Calibration, check_support
from aepipe.config import Device, Job, read_job
from aepipe.export import Exported, export_model
from aepipe.heads.scorer import fit_scorer
from aepipe.jobs.result import Result
from aepipe.jobs.rows import Learning, read_learning_rows
from aepipe.nets.pooling import reason_names
from aepipe.partitions import Partition, discover, select
from aepipe.priors import fit_priors
from aepipe.registry import Registry
from aepipe.storage import digest_file, digest_of
from aepipe.training.curve import Curve
from aepipe.training.loop import fit

log = logging.getLogger(__name__)

CONTRACT = "train/1"
GOLDEN_ROWS = 16
BATCH_ROWS = 2_048
PACKAGES = ("aepipe", "torch", "onnx", "onnxscript", "onnxruntime-gpu", "onnxruntime", "pyarrow", "numpy")
Progress = Callable[[str, float], None]


class TrainResult(Result):
    """Where the bundle is, and whether this call made it."""

    bundle: Path
    version: str
    alias: str
    created: bool
    summary: str = ""
    rows: dict[str, int] = Field(default_factory=dict)
    seconds: dict[str, float] = Field(default_factory=dict)


class _Trained(NamedTuple):
    """What comes out of the learning wing."""

    parts: Mapping[str, Exported]
    head: str
    latent: Latent
    curve: Curve
    device: str


def train(
    job_path: str | Path, *, device: Device | None = None, force: bool = False, progress: Progress | None = None
) -> TrainResult:
    """A bundle for a job: the one that job and data already have, or a new one, which is given the job's alias.

    Raises JobInvalid, OptionInvalid, SchemaMismatch, DataUnreadable, TrainingDiverged, ExportFailed or
    CalibrationInvalid.
    """
    return train_job(read_job(job_path), device=device, force=force, progress=progress)


def train_job(
    job: Job, *, device: Device | None = None, force: bool = False, progress: Progress | None = None
) -> TrainResult:
    """As `train`, for a job that is no file of its own."""
    partitions = select(discover(job), job.train.first, job.train.last)
    key = training_key(job, partitions)
    registry = Registry(job.bundle_path)
    known = registry.find_by_training_key(key)
    if known is not None and not force:
        return TrainResult(bundle=known, version=known.name, alias=job.train.alias, created=False)
    return _train(job, partitions, key, device=device, progress=progress or _silent)


def training_key(job: Job, partitions: tuple[Partition, ...]) -> str:
    """What a bundle depends on: the sections of the job that shape it, and every byte that it learns from."""
    shaping = job.model_dump_json(
        include={
            "name": True,
            "data": {"keys", "labels", "event_time"},
            "columns": True,
            "model": True,
            "train": job.train.model_fields_set | {"data", "seed"} - {"alias"},
            "calibration": True,
            "score": {"head", "reasons"},
            "samples": {"components"},
        }
    )
    inputs = [f"{partition.name}:{digest_file(file)}" for partition in partitions for file in partition.files]
    return digest_of(CONTRACT, shaping, *inputs)


def _train(
    job: Job, partitions: tuple[Partition, ...], key: str, *, device: Device | None, progress: Progress
) -> TrainResult:
    seconds: dict[str, float] = {}
    with _timed(seconds, "read", progress):
        learning = read_learning_rows(job, partitions)
    check_support(_rows(learning.calibration), job.calibration.alpha)
    trained = _learn(job, learning, key, device=device, progress=progress, seconds=seconds)
    with _timed(seconds, "calibrate", progress):
        path = _publish(job, partitions, key, learning, trained, seconds)
    _name(job, path)
    curve, rows = trained.curve, _counts(learning)
    return TrainResult(
        bundle=path,
        version=path.name,
        alias=job.train.alias,
        created=True,
        summary=f"{job.model.family}, {rows['train']:,} rows, {len(curve.epochs)} epochs, {curve.stopped_because}",
        rows=rows,
        seconds=seconds,
    )


def _learn(
    job: Job, learning: Learning, key: str, *, device: Device | None, progress: Progress, seconds: dict[str, float]
) -> _Trained:
    """Network, head, priors and their ONNX files; an interrupted training goes on from its checkpoint."""
    used, why = usable_device(device or job.run.device)
    log.info("training on %s: %s", used, why)
    model = families.build(learning.encoding.layout, job.model, job.train.seed)
    checkpoint = job.out_path / ".aepipe" / "checkpoints" / f"{key.rpartition(':')[2]}.pt"
    with _timed(seconds, "train", progress):
        curve = fit(
            model, learning.train, learning.dev, job.train, device=used, checkpoint=checkpoint, progress=progress
        )
    head = heads.resolve(job.score.head, job.train.data)
    seed, train, dev = job.train.seed, learning.train, learning.dev
    with _timed(seconds, "export", progress):
        scorer = fit_scorer(model, train, dev, head=head, reasons=job.score.reasons, seed=seed)
        priors = fit_priors(model, train, components=job.samples.components, seed=seed)
        parts = export_model(model, scorer, priors, train)
    checkpoint.unlink(missing_ok=True)
    latent = Latent(names=model.latent.names, kind=model.latent.kind)
    return _Trained({part.part: part for part in parts}, head, latent, curve, used)


def _publish(
    job: Job,
    partitions: tuple[Partition, ...],
    key: str,
    learning: Learning,
    trained: _Trained,
    seconds: dict[str, float],
) -> Path:
    """Calibrate with the exported scorer, and write the bundle."""
    answers = _answers(trained.parts["scorer"].onnx, learning.calibration)
    resolved = families.plan(learning.encoding.layout, job.model).resolved
    manifest = BundleManifest(
        name=job.name,
        family=str(resolved["family"]),
        trunk=str(resolved["trunk"]),
        head=trained.head,
        training_key=key,
        job=job.model_dump(mode="json", by_alias=True) | {"model": resolved},
        train_partitions=tuple(partition.name for partition in partitions),
        rows=_counts(learning),
        parts={name: part.info for name, part in trained.parts.items()},
        latent=trained.latent,
        reason_names=reason_names(learning.encoding.layout),
        versions=_versions(),
        details={"device": trained.device, "seconds": {name: round(value, 3) for name, value in seconds.items()}},
    )
    golden = Golden(
        learning.calibration_rows.slice(0, GOLDEN_ROWS), answers["score"][:GOLDEN_ROWS], answers["z"][:GOLDEN_ROWS]
    )
    return write_bundle(
        job.bundle_path,
        manifest,
        encoding=learning.encoding,
        onnx={name: part.onnx for name, part in trained.parts.items()},
        calibration=Calibration.fit(answers["score"], alpha=job.calibration.alpha),
        golden=golden,
        extras={"curve.json": trained.curve.model_dump_json(indent=1).encode()},
    )


def _answers(onnx: bytes, rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the exported scorer says of rows, on the CPU."""
    runner = Runner(partial(Session, onnx, device="cpu"), batch_rows=BATCH_ROWS)
    out = {port.name: np.empty((_rows(rows), *port.row_shape), port.dtype) for port in runner.graph.outputs}
    runner.run_into(rows, out)
    return out


def _name(job: Job, path: Path) -> None:
    registry = Registry(job.bundle_path)
    before = registry.aliases().get(job.train.alias)
    registry.set_alias(job.train.alias, path.name, who=getpass.getuser(), why="trained")
    if before is not None:
        log.warning(
            "%s replaces %s as %s; its features are another space: train downstream models again",
            path.name,
            before,
            job.train.alias,
        )


def _counts(learning: Learning) -> dict[str, int]:
    return {
        "train": _rows(learning.train),
        "dev": _rows(learning.dev),
        "calibration": _rows(learning.calibration),
    }


def _rows(arrays: Mapping[str, np.ndarray]) -> int:
    return len(next(iter(arrays.values())))


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@contextmanager
def _timed(seconds: dict[str, float], stage: str, progress: Progress) -> Iterator[None]:
    began = time.perf_counter()
    progress(stage, 0.0)
    yield
    progress(stage, 1.0)
    seconds[stage] = time.perf_counter() - began


def _silent(what: str, share: float) -> None:
    """No one watches."""
