"""The model card of a bundle: description, training data and metrics."""

from collections.abc import Iterator, Sequence
from math import isfinite

from aepipe.bundles.bundle import BundleManifest
from aepipe.encoding.relations.relation import Relation
from aepipe.jobs.train.search import Found
from aepipe.training.history import Curve


def model_card(
    manifest: BundleManifest, curve: Curve, relations: Sequence[Relation] = (), found: Found | None = None
) -> str:
    """Render the model card in Markdown, with metrics of rows that trained no weight, and the trials of a search."""
    return "\n".join([*_lines(manifest, curve, found), *_relation_lines(relations)]) + "\n"


def _lines(manifest: BundleManifest, curve: Curve, found: Found | None) -> Iterator[str]:
    rows = manifest.rows
    yield f"# {manifest.name}: {manifest.family}"
    yield ""
    yield f"- network: {manifest.trunk}; score: {manifest.head}; features: {len(manifest.latent.columns)}"
    if why := _choice_of_head(manifest):
        yield f"- score: {why}"
    yield f"- learned from {rows['train']:,} rows; validated on {rows['dev']:,}; calibrated on {rows['calibration']:,}"
    calibration = manifest.details.get("calibration")
    if isinstance(calibration, dict) and calibration.get("method") == "cross-conformal":
        yield (
            f"- calibration: {calibration['method']}, {calibration['folds']} folds; {calibration['out_of_fold']:,} "
            "training rows join the rows above with the scores of models that did not learn from them"
        )
    if isinstance(calibration, dict) and (of_cells := calibration.get("training_rows_of_cells")):
        yield (
            f"- calibration of single cells: {of_cells:,} training rows join the rows above, scored by predictors of "
            "cells that did not learn from them"
        )
    yield f"- partitions: {', '.join(manifest.train_partitions) or 'all'}"
    yield f"- training: {len(curve.epochs)} epochs, best {curve.best_epoch}; {curve.stopped_because}"
    if (spent := curve.privacy) is not None:
        yield (
            f"- privacy: the weights are ({spent.epsilon:.4g}, {spent.delta:.2g})-differentially private for each "
            f"training row, given the encoding; {spent.steps:,} steps with {100 * spent.sample_rate:.3g} % of the "
            f"rows on average, noise {spent.noise:.3g}. The encoding, the scores and this card are not private"
        )
    yield ""
    yield "## Measured on rows that it did not learn from (nats per row)"
    yield ""
    yield "| | |"
    yield "|---|---|"
    for name, value in manifest.metrics.items():
        yield f"| {name.replace('_', ' ')} | {value:.4g} |"
    yield from _search_lines(found)
    yield ""
    yield "## Options"
    yield ""
    yield "| | |"
    yield "|---|---|"
    for name, option in dict(_options(manifest)).items():
        yield f"| {name} | {option} |"


def _choice_of_head(manifest: BundleManifest) -> str:
    """Say why the head was chosen: by labels, or as the default; empty where the job names it."""
    by_labels, job = manifest.details.get("head"), manifest.job
    if isinstance(by_labels, dict):
        return str(by_labels["sentence"])
    score, train = job.get("score"), job.get("train")
    if isinstance(score, dict) and isinstance(train, dict) and score.get("head") == "auto":
        return f"head {manifest.head} is the default for {train.get('data')} training rows; no labels chose it"
    return ""


def _search_lines(found: Found | None) -> Iterator[str]:
    """Yield the trials of the search that chose options, best first."""
    if found is None or not found.trials:
        return
    is_loss = found.metric == "dev_loss"
    yield ""
    yield f"## Trials of the search, by {'the loss on dev rows' if is_loss else 'average precision on labelled rows'}"
    yield ""
    value = "dev loss" if is_loss else "average precision"
    yield f"| {' | '.join([*found.trials[0].options, 'epochs', value])} |"
    yield f"|{'---|' * (len(found.trials[0].options) + 2)}"
    for trial in found.trials:
        result = f"{trial.value if is_loss else 1 - trial.value:.4g}" if isfinite(trial.value) else trial.reason
        yield f"| {' | '.join([*map(str, trial.options.values()), str(trial.epochs), result])} |"


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
