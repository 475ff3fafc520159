"""Fitting: from training data to a trained network, then to a scorer with its priors."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aepipe.bundles.bundle import COLLAPSED_NATS
from aepipe.config.job import Job
from aepipe.config.job import Model as ModelOptions
from aepipe.encoding import Encoding
from aepipe.heads.scorer import Scorer, fit_scorer
from aepipe.heads.selection import HeadChoice
from aepipe.jobs.train.bundle_plan import BundlePlan, refuse_clusters, refuse_flow
from aepipe.jobs.train.classification import FoundClasses, find_classes
from aepipe.jobs.train.column_warnings import token_warnings
from aepipe.jobs.train.head_selection import choose_head_by_labels
from aepipe.jobs.train.training_data import TrainingData, rows_of
from aepipe.layout import INFORMATION, Layout
from aepipe.models import families
from aepipe.models.base import Model, Part
from aepipe.models.label_sampler import fit_label_sampler
from aepipe.models.latent_priors import fit_priors, mixture_of, own_priors
from aepipe.models.layers.prior import Prior
from aepipe.progress import Progress
from aepipe.training.history import Curve
from aepipe.training.loop import measure
from aepipe.training.private_training import fit_network

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FittedModel:
    """Trained network, its training curve and its metrics on dev rows."""

    model: Model
    curve: Curve
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class FittedScorer:
    """Scorer of a trained network with everything that was fitted on its outputs."""

    scorer: Scorer
    head: HeadChoice
    classes: FoundClasses | None
    priors: tuple[Part, ...]
    has_clusters: bool


def fit_model(
    job: Job,
    plan: BundlePlan,
    data: TrainingData,
    *,
    device: Literal["cpu", "cuda"],
    checkpoint: Path | None,
    progress: Progress,
) -> FittedModel:
    """Build and train the network; resume from a checkpoint if there is one.

    Raises:
        OptionInvalid: The job asks for clusters and the latents have none.
        TrainingDiverged: A loss is not finite.
    """
    model = build_model(data.encoding, plan.model, job.train.seed)
    refuse_clusters(job, model)
    refuse_flow(model, rows_of(data.train))
    curve = fit_network(model, data.train, data.dev, job.train, device=device, checkpoint=checkpoint, progress=progress)
    metrics = measure(model, data.dev if rows_of(data.dev) else data.train, seed=job.train.seed)
    return FittedModel(model, curve, metrics)


def build_model(encoding: Encoding, options: ModelOptions | families.Plan, seed: int) -> Model:
    """Build a network that is to be trained on encoded rows, and tell it which values its codes stand for."""
    model = families.build(encoding.layout, options, seed)
    if encoding.layout.categories:
        model.code_orders = encoding.code_orders
    return model


def model_warnings(encoding: Encoding, metrics: Mapping[str, float]) -> tuple[str, ...]:
    """Describe and log what the model does not read of its columns, and whether its latents are unused."""
    found = (*token_warnings(encoding), *collapse_warnings(encoding.layout, metrics))
    for warning in found:
        log.warning("%s", warning)
    return found


def collapse_warnings(layout: Layout, metrics: Mapping[str, float]) -> tuple[str, ...]:
    """Return a warning if texts are decoded without the latents (posterior collapse, Bowman et al. 2016); else none."""
    information = metrics.get(INFORMATION, COLLAPSED_NATS)
    if layout.kind != "text" or information >= COLLAPSED_NATS:
        return ()
    return (
        f"the model has collapsed: its latents hold {max(0.0, information):.2g} nats of a row, so that texts are "
        "predicted from their own tokens alone. It scores rows as a language model does, but `aepipe sample` refuses "
        "its rows. Raise free_bits under [model], or word_dropout.",
    )


def fit_bundle_scorer(
    job: Job, plan: BundlePlan, data: TrainingData, model: Model, *, with_priors: bool = True
) -> FittedScorer:
    """Choose the head and fit it with priors, clusters and classes on the outputs of the trained network."""
    seed = job.train.seed
    head, learned = choose_head_by_labels(job, data, model, default=plan.head)
    priors = _priors(job, data, model) if with_priors else ()
    if priors:
        prior = priors[0].module
        assert isinstance(prior, Prior)
        model.match_shares(prior, data.counted, seed)
    mixture = mixture_of(priors) if job.score.clusters else None
    found = find_classes(job, data, model, plan.class_names)
    scorer = fit_scorer(
        model,
        data.train,
        data.dev,
        head=head.name,
        reasons=0 if job.series is not None else job.score.reasons,  # a point has a channel instead
        has_cells=job.calibration.has_cells,
        alpha=job.calibration.alpha,
        seed=seed,
        mixture=mixture,
        classes=None if found is None else found.classes,
        learned=learned,
    )
    return FittedScorer(scorer, head, found, priors, mixture is not None)


def _priors(job: Job, data: TrainingData, model: Model) -> tuple[Part, ...]:
    """Return priors fitted on training latents; with a privacy budget, the prior of the model, which knows no row."""
    if job.train.epsilon is not None:
        return own_priors(model)
    return fit_priors(model, data.train, components=job.samples.components, seed=job.train.seed)


def fit_labels(job: Job, data: TrainingData) -> tuple[Part, ...]:
    """Fit the part that draws the labels of synthetic rows; none if the job does not ask for it."""
    codes = data.label_codes
    if codes is None:
        return ()
    layout, categories = data.encoding.layout, data.encoding.label_categories
    train, dev = (data.train, codes.train), (data.dev, codes.dev)
    return (fit_label_sampler(layout, categories, train, dev, seed=job.train.seed).part(),)
