"""The model card of a bundle: description, training data and metrics."""

from collections.abc import Iterator, Sequence

from aepipe.bundles.bundle import BundleManifest
from aepipe.encoding.relations.relation import Relation
from aepipe.training.history import Curve


def model_card(manifest: BundleManifest, curve: Curve, relations: Sequence[Relation] = ()) -> str:
    """Render the model card in Markdown, with metrics of rows that trained no weight."""
    return "\n".join([*_lines(manifest, curve), *_relation_lines(relations)]) + "\n"


def _lines(manifest: BundleManifest, curve: Curve) -> Iterator[str]:
    rows = manifest.rows
    yield f"# {manifest.name}: {manifest.family}"
    yield ""
    yield f"- network: {manifest.trunk}; score: {manifest.head}; features: {len(manifest.latent.columns)}"
    yield f"- learned from {rows['train']:,} rows; validated on {rows['dev']:,}; calibrated on {rows['calibration']:,}"
    calibration = manifest.details.get("calibration")
    if isinstance(calibration, dict) and calibration.get("method") == "cross-conformal":
        yield (
            f"- calibration: {calibration['method']}, {calibration['folds']} folds; {calibration['out_of_fold']:,} "
            "training rows join the rows above with the scores of models that did not learn from them"
        )
    yield f"- partitions: {', '.join(manifest.train_partitions) or 'all'}"
    yield f"- training: {len(curve.epochs)} epochs, best {curve.best_epoch}; {curve.stopped_because}"
    yield ""
    yield "## Measured on rows that it did not learn from (nats per row)"
    yield ""
    yield "| | |"
    yield "|---|---|"
    for name, value in manifest.metrics.items():
        yield f"| {name.replace('_', ' ')} | {value:.4g} |"
    yield ""
    yield "## Options"
    yield ""
    yield "| | |"
    yield "|---|---|"
    for name, option in dict(_options(manifest)).items():
        yield f"| {name} | {option} |"


def _options(manifest: BundleManifest) -> Iterator[tuple[str, object]]:
    model = manifest.job.get("model")
    if isinstance(model, dict):
        yield from model.items()


def _relation_lines(relations: Sequence[Relation]) -> Iterator[str]:
    if not relations:
        return
    yield ""
    yield "## Relations between columns, which synthetic rows hold"
    yield ""
    yield "| relation | training rows |"
    yield "|---|---|"
    for relation in relations:
        yield f"| {relation.title.replace('|', ' ')} | {100 * relation.share:.4g} % |"
