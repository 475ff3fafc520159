"""Differences between two versions of a model: job, data, package versions, metrics and size."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from aepipe.bundles.bundle import Bundle
from aepipe.bundles.job_bundle import open_bundle
from aepipe.config.job import read_job
from aepipe.jobs.results import Result


class Difference(Result):
    """One difference; None stands for an absent value."""

    what: str
    first: JsonValue
    second: JsonValue


class ModelDiff(Result):
    """Differences between two versions, by section: model, job, data, versions, metrics."""

    first: str
    second: str
    sections: dict[str, tuple[Difference, ...]]


def diff_models(job_path: str | Path, first: str, second: str) -> ModelDiff:
    """Compare two versions, or aliases, of a job's model. Raises BundleNotFound."""
    job = read_job(job_path)
    bundles = [open_bundle(job, name) for name in (first, second)]
    facts = [_facts(bundle) for bundle in bundles]
    found = {section: _differences(facts[0][section], facts[1][section]) for section in facts[0]}
    return ModelDiff(
        first=bundles[0].path.name,
        second=bundles[1].path.name,
        sections={section: lines for section, lines in found.items() if lines},
    )


def _facts(bundle: Bundle) -> dict[str, dict[str, JsonValue]]:
    manifest, calibration = bundle.manifest, bundle.calibration
    model: dict[str, JsonValue] = {
        "family": manifest.family,
        "backbone": manifest.trunk,
        "head": manifest.head,
        "features": len(manifest.latent.columns),
        "alpha": calibration.alpha,
        "threshold": calibration.threshold,
        "bytes": sum(len(data) for data in bundle.files.values()),
        "created_at": manifest.created_at,
    }
    data: dict[str, JsonValue] = {f"rows.{split}": rows for split, rows in manifest.rows.items()}
    data |= {f"partition {name}": "trained on" for name in manifest.train_partitions}
    data |= {f"column {column.name}": column.kind for column in bundle.encoding.schema.columns}
    return {
        "model": model,
        "job": dict(_flat(manifest.job)),
        "data": data,
        "versions": dict(manifest.versions),
        "metrics": dict(manifest.metrics),
    }


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, JsonValue]:
    """Name nested values by their path.

    >>> _flat({"train": {"epochs": 3}, "name": "a"})
    {'train.epochs': 3, 'name': 'a'}
    """
    found: dict[str, JsonValue] = {}
    for name, inner in value.items():
        found |= _flat(inner, f"{prefix}{name}.") if isinstance(inner, Mapping) else {f"{prefix}{name}": inner}
    return found


def _differences(first: Mapping[str, JsonValue], second: Mapping[str, JsonValue]) -> tuple[Difference, ...]:
    names = [*first, *(name for name in second if name not in first)]
    return tuple(
        Difference(what=name, first=first.get(name), second=second.get(name))
        for name in names
        if first.get(name) != second.get(name)
    )
