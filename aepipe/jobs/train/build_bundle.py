"""Learns from rows, exports and calibrates: from a job and its rows to a bundle's folder."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aepipe import versions as installed
from aepipe.bundles.bundle import BundleManifest, write_bundle
from aepipe.bundles.golden_rows import Golden, Latent
from aepipe.calibration.conformal import Calibration, check_support
from aepipe.config.job import Device, Job
from aepipe.errors import OptionInvalid
from aepipe.export.export import Exported, export_model
from aepipe.heads import scores as heads
from aepipe.heads.scorer import fit_scorer
from aepipe.heads.selection import HeadChoice
from aepipe.inference import condition_bank as conditions
from aepipe.inference.batch_runner import Runner, outputs_of
from aepipe.inference.session import Session, usable_device
from aepipe.jobs import threshold_selection as threshold
from aepipe.jobs.train.classification import FoundClasses, class_names, find_classes
from aepipe.jobs.train.head_selection import head_of, refuse_few, refuse_unlabelled
from aepipe.jobs.train.model_card import model_card
from aepipe.jobs.train.training_data import TrainingData, read_training_data
from aepipe.models import families
from aepipe.models.base import Model
from aepipe.models.latent_priors import fit_priors, has_mixture, mixture_of
from aepipe.models.layers.loss_pooling import reason_names
from aepipe.progress import Progress
from aepipe.storage import HIDDEN, remove
from aepipe.tables.parquet_reader import read_footer
from aepipe.tables.partitions import Partition
from aepipe.training.history import Curve
from aepipe.training.loop import fit, measure
from aepipe.training.threads import single_threaded

log = logging.getLogger(__name__)

GOLDEN_ROWS = 16
SMALL_VALUES = 5_000_000
PACKAGES = ("aepipe", "torch", "onnx", "onnxscript", "onnxruntime-gpu", "onnxruntime", "pyarrow", "numpy")


class Made(NamedTuple):
    """A new bundle, and how it came about."""

    path: Path
    summary: str
    rows: dict[str, int]
    seconds: dict[str, float]


class _Trained(NamedTuple):
    """Trained and exported parts of a bundle, and facts about the training."""

    parts: Mapping[str, Exported]
    head: HeadChoice
    classes: FoundClasses | None
    latent: Latent
    curve: Curve
    facts: Mapping[str, float]
    device: str


def make_bundle(
    job: Job, partitions: tuple[Partition, ...], key: str, *, device: Device | None, progress: Progress
) -> Made:
    """Write a new version under exported/<name>, without an alias."""
    seconds: dict[str, float] = {}
    heads.resolve(job.score.head, job.train.data)
    refuse_unlabelled(job)
    family = families.find(job.model.family)
    with _timed(seconds, "read", progress):
        learning = read_training_data(job, partitions, as_codes=family.takes_codes)
    check_support(_rows(learning.calibration), threshold.needed_alpha(job))
    refuse_few(job, learning)
    class_names(job, learning)
    trained = _learn(job, learning, key, device=device, progress=progress, seconds=seconds)
    with _timed(seconds, "calibrate", progress):
        path = _publish(job, partitions, key, learning, trained, seconds)
    remove(_checkpoint(job, key))
    curve, rows = trained.curve, _counts(learning)
    summary = f"{job.model.family}, {rows['train']:,} rows, {len(curve.epochs)} epochs, {curve.stopped_because}"
    return Made(path, summary, rows, seconds)


def _learn(
    job: Job, learning: TrainingData, key: str, *, device: Device | None, progress: Progress, seconds: dict[str, float]
) -> _Trained:
    """Train network, head and priors and export them to ONNX; resume from a checkpoint if there is one."""
    used, why = usable_device(device or job.run.device)
    log.info("training on %s: %s", used, why)
    values = _rows(learning.train) * learning.encoding.layout.features
    with single_threaded(values < SMALL_VALUES):
        return _on_device(job, learning, key, used, progress=progress, seconds=seconds)


def _on_device(
    job: Job,
    learning: TrainingData,
    key: str,
    device: Literal["cpu", "cuda"],
    *,
    progress: Progress,
    seconds: dict[str, float],
) -> _Trained:
    model = families.build(learning.encoding.layout, job.model, job.train.seed)
    _refuse_clusters(job, model)
    checkpoint = _checkpoint(job, key)
    with _timed(seconds, "train", progress):
        curve = fit(
            model, learning.train, learning.dev, job.train, device=device, checkpoint=checkpoint, progress=progress
        )
    head = head_of(job, learning, model)
    seed, train, dev = job.train.seed, learning.train, learning.dev
    facts = measure(model, dev if _rows(dev) else train, seed=seed)
    with _timed(seconds, "export", progress):
        priors = fit_priors(model, train, components=job.samples.components, seed=seed)
        mixture = mixture_of(priors) if job.score.clusters else None
        found = find_classes(job, learning, model)
        scorer = fit_scorer(
            model,
            train,
            dev,
            head=head.name,
            reasons=job.score.reasons,
            seed=seed,
            mixture=mixture,
            classes=None if found is None else found.classes,
        )
        parts = export_model(model, scorer, priors, train)
    latent = Latent(**model.latent._asdict(), has_clusters=mixture is not None)
    facts = {**facts, **(found.facts if found is not None else {})}
    return _Trained({part.part: part for part in parts}, head, found, latent, curve, facts, device)


def _refuse_clusters(job: Job, model: Model) -> None:
    if job.score.clusters and not has_mixture(model.latent):
        kind = "codes" if model.latent.kind == "code" else "binary" if model.latent.kind == "binary" else "no features"
        raise OptionInvalid(
            f"[score] clusters = true needs real latents among the features, and family '{job.model.family}' "
            f"has {kind}; leave it out, or choose another family."
        )


def _publish(
    job: Job,
    partitions: tuple[Partition, ...],
    key: str,
    learning: TrainingData,
    trained: _Trained,
    seconds: dict[str, float],
) -> Path:
    """Calibrate with the exported scorer, and write the bundle."""
    answers = _answers(trained.parts["scorer"].onnx, learning.calibration)
    calibration = _calibration(job, partitions, learning, trained.parts["scorer"].onnx, answers["score"])
    resolved = families.plan(learning.encoding.layout, job.model).resolved
    manifest = BundleManifest(
        name=job.name,
        family=str(resolved["family"]),
        trunk=str(resolved["trunk"]),
        head=trained.head.name,
        training_key=key,
        job=job.model_dump(mode="json", by_alias=True) | {"model": resolved},
        train_partitions=tuple(partition.name for partition in partitions),
        rows=_counts(learning),
        parts={name: part.info for name, part in trained.parts.items()},
        latent=trained.latent,
        reason_names=reason_names(learning.encoding.layout),
        open_set=None if trained.classes is None else trained.classes.open_set,
        versions=installed.versions(PACKAGES),
        metrics=dict(trained.facts),
        details={
            "device": trained.device,
            "seconds": {name: round(value, 3) for name, value in seconds.items()},
            **({"head": trained.head._asdict()} if trained.head.sentence else {}),
        },
    )
    kept = ("score", *trained.latent.features)
    golden = Golden(
        learning.calibration_rows.slice(0, GOLDEN_ROWS), {name: answers[name][:GOLDEN_ROWS] for name in kept}
    )
    return write_bundle(
        job.bundle_path,
        manifest,
        encoding=learning.encoding,
        onnx={name: part.onnx for name, part in trained.parts.items()},
        calibration=calibration,
        golden=golden,
        extras={
            "curve.json": trained.curve.model_dump_json(indent=1).encode(),
            "card.md": model_card(manifest, trained.curve).encode(),
            **_conditions_file(learning.conditions),
        },
    )


def _calibration(
    job: Job, partitions: tuple[Partition, ...], learning: TrainingData, scorer: bytes, scores: np.ndarray
) -> Calibration:
    """Calibrate on the calibration rows, with the job's alpha or the cheapest by its cost table."""
    labelled = None
    if learning.labelled:
        found = _answers(scorer, learning.labelled)["score"]
        fine = np.isfinite(found)
        labelled = threshold.Labelled(found[fine], learning.is_anomaly[fine], "labelled rows kept from training")
    rows = sum(read_footer(file).rows for partition in partitions for file in partition.files) / len(partitions)
    calibration = threshold.calibrate(job, scores, threshold.Evidence(rows, labelled))
    if calibration.choice is not None:
        log.log(logging.WARNING if calibration.choice.by == "assumption" else logging.INFO, calibration.choice.sentence)
    return calibration


def _conditions_file(rows: pa.Table) -> dict[str, bytes]:
    """Return the file of conditions that samples are drawn at; none without condition columns."""
    if not rows.num_columns:
        return {}
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink)  # into memory: write_bundle writes the bytes
    return {conditions.FILE: bytes(sink.getvalue())}


def _answers(onnx: bytes, rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run the exported scorer on rows, on the CPU."""
    return outputs_of(Runner(partial(Session, onnx, device="cpu")), rows)


def _checkpoint(job: Job, key: str) -> Path:
    return job.out_path / HIDDEN / "checkpoints" / f"{key.rpartition(':')[2]}.pt"


def _counts(learning: TrainingData) -> dict[str, int]:
    return {
        "train": _rows(learning.train),
        "dev": _rows(learning.dev),
        "calibration": _rows(learning.calibration),
    }


def _rows(arrays: Mapping[str, np.ndarray]) -> int:
    return len(next(iter(arrays.values())))


@contextmanager
def _timed(seconds: dict[str, float], stage: str, progress: Progress) -> Iterator[None]:
    began = time.perf_counter()
    progress(stage, 0.0)
    yield
    progress(stage, 1.0)
    seconds[stage] = time.perf_counter() - began
