"""DP-SGD (Abadi et al. 2016): Poisson sampling, clipped gradients of single rows, Gaussian noise. No row decides more.

The loss on dev rows is measured and decides nothing: the last weights are kept.
"""

import logging
import math
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import AdamW

from aepipe.config.job import Train
from aepipe.errors import OptionInvalid, TrainingDiverged
from aepipe.layout import Category
from aepipe.models.base import Batch, Model, Objective, StepContext
from aepipe.models.layers.parameter_uses import ParameterUses
from aepipe.progress import Progress, no_progress
from aepipe.training.checkpoint import Checkpointer
from aepipe.training.device_dataset import DeviceDataset
from aepipe.training.history import Curve, Epoch, Privacy
from aepipe.training.loop import evaluate, fit
from aepipe.training.privacy_noise import NoisePlan, plan_noise
from aepipe.training.schedule import epochs_of, learning_rate_of
from aepipe.training.threads import single_threaded
from aepipe.training.weight_average import Average, in_place

log = logging.getLogger(__name__)

Arrays = Mapping[str, NDArray[np.generic]]

CLIP = 1.0
"""Largest norm of the gradient of a row."""
_STEPS_AN_EPOCH = 20
"""Default: a step has this fraction of the rows on average. Chosen on a generated table."""
_MOST_EPOCHS = 40
"""Greatest default number of epochs: each takes its share of the budget. Chosen on two tables of 2,800 rows."""
_RATE = 10 / 3
"""Factor of the default learning rate: noise makes Adam's steps short. Chosen on a generated table."""
_DELTA = 0.1
"""Default of delta, per row."""


def fit_network(
    model: Model,
    train: Arrays,
    dev: Arrays,
    options: Train,
    *,
    device: str = "cpu",
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> Curve:
    """Train a model in place: by `fit`, or by `fit_privately` if the job has a privacy budget."""
    chosen = fit if options.epsilon is None else fit_privately
    return chosen(model, train, dev, options, device=device, checkpoint=checkpoint, progress=progress)


class _Run(NamedTuple):
    """Fixed parts of a run."""

    model: Model
    objective: Objective
    rows: DeviceDataset
    held_out: DeviceDataset
    options: Train
    plan: NoisePlan
    epochs: int
    optimizer: AdamW
    average: Average
    generator: torch.Generator


def fit_privately(
    model: Model,
    train: Arrays,
    dev: Arrays,
    options: Train,
    *,
    device: str = "cpu",
    checkpoint: Path | None = None,
    every_s: float = 10.0,
    progress: Progress | None = None,
    secret: int | None = None,
) -> Curve:
    """Train a model in place so that its weights are differentially private, given the encoding of the rows.

    Args:
        model: Model to train; the weights of its start come from the seed of the job.
        train: Training rows.
        dev: Rows that the loss is measured on.
        options: Options of the job with a privacy budget.
        device: Device to train on.
        checkpoint: File that an interrupted run resumes from.
        every_s: Least seconds between two checkpoints.
        progress: Callback for progress.
        secret: Seed of sampling and noise; None: drawn from the system, since who knows it can subtract the noise.

    Raises:
        OptionInvalid: The model cannot be trained this way, delta is too large, or a checkpoint has no account.
        ExtraMissing: opacus is not installed.
        TrainingDiverged: A loss is not finite.
    """
    _refuse_unsupported(model)
    run = _setup(model, train, dev, options, torch.device(device), secret)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    key = f"private {type(model).__name__} {shapes} {run.rows.rows} {options.model_dump_json()}"
    checkpointer = None if checkpoint is None else Checkpointer(checkpoint, key, every_s)
    begun, curve = time.perf_counter(), _resume(run, checkpointer)
    if not curve:
        _prepare(run)
    clipped = ClippedGradients(model, run.objective)
    with single_threaded(True):
        while len(curve) < run.epochs:
            curve.append(_epoch(run, clipped, len(curve)))
            if checkpointer is not None:
                checkpointer.keep(lambda: _content(run, curve))
            (progress or no_progress)("training", len(curve) / run.epochs)
    with torch.no_grad():
        run.average.swap()
    model.eval()
    rate = run.plan.gradients.sample_rate * run.plan.gradients.steps * run.rows.rows
    return Curve(
        epochs=tuple(curve),
        best_epoch=len(curve),
        stopped_because=f"all {run.epochs} epochs done",
        rows_per_s=rate / max(time.perf_counter() - begun, 1e-9),
        privacy=_spent(run),
    )


def _spent(run: _Run) -> Privacy:
    """Return what all steps of a run spend."""
    assert run.options.epsilon is not None
    counts, gradients = run.plan
    delta = delta_of(run.options, run.rows.rows)
    return Privacy(
        epsilon=run.plan.epsilon(delta),
        delta=delta,
        budget=run.options.epsilon,
        noise=gradients.noise,
        counts_noise=counts.noise,
        sample_rate=gradients.sample_rate,
        steps=gradients.steps,
        clip=CLIP,
    )


def delta_of(options: Train, rows: int) -> float:
    """Return the delta of a job, a tenth of one over the rows by default.

    Raises:
        OptionInvalid: It is one over the rows or more: publishing a whole row at random would be allowed.
    """
    delta = _DELTA / rows if options.delta is None else options.delta
    if delta >= 1 / rows:
        raise OptionInvalid(
            f"[train] delta is too large: expected less than 1 / {rows:,} training rows = {1 / rows:.2g}, got "
            f"{delta:g}. Omit delta, or lower it."
        )
    return delta


def _refuse_unsupported(model: Model) -> None:
    """Raise OptionInvalid if the loss of a row of this model depends on other rows."""
    objectives = model.objectives()
    if len(objectives) != 1 or objectives[0].row_losses is None:
        raise OptionInvalid(
            "[train] epsilon needs a family whose rows have losses of their own: expected family 'tabular_vae', got "
            f"{type(model).__name__}. Choose that family, or omit epsilon."
        )
    if any(isinstance(module, _BatchNorm) for module in model.modules()):
        raise OptionInvalid(
            "[train] epsilon cannot be kept by layers with batch statistics: expected none, got batch normalisation. "
            "Choose another trunk, or omit epsilon."
        )


def _setup(
    model: Model,
    train: Arrays,
    dev: Arrays,
    options: Train,
    device: torch.device,
    secret: int | None,
) -> _Run:
    assert options.epsilon is not None
    model.to(device)
    rows, held_out = DeviceDataset(model.preprocessing, train, device), DeviceDataset(model.preprocessing, dev, device)
    model.training_rows = rows.rows
    (objective,) = model.objectives()  # the number of epochs depends on the number of rows
    objective = objective._replace(learning_rate=_RATE * objective.learning_rate)
    epochs = options.epochs or min(_MOST_EPOCHS, epochs_of(options, [objective]))
    sample_rate = min(1.0, options.batch_rows / rows.rows) if options.batch_rows else 1 / _STEPS_AN_EPOCH
    steps = epochs * max(1, round(1 / sample_rate))
    plan = plan_noise(options.epsilon, delta_of(options, rows.rows), sample_rate=sample_rate, steps=steps)
    generator = torch.Generator(device)
    generator.manual_seed(secrets.randbits(63) if secret is None else secret)
    optimizer = AdamW(objective.parameters, betas=objective.betas, weight_decay=options.weight_decay, fused=True)
    average = Average(objective.parameters, objective.averaged)
    return _Run(
        model,
        objective,
        rows,
        held_out if held_out.rows else rows,
        options,
        plan,
        epochs,
        optimizer,
        average,
        generator,
    )


def _prepare(run: _Run) -> None:
    """Initialise the model from noisy counts of codes."""
    table, categories = run.rows.table, run.model.layout.categories
    assert table is not None
    noise = run.plan.counts.noise * math.sqrt(len(categories))  # a row adds one to a count of each column
    counts = [torch.bincount(table.codes[:, at], minlength=each.size) for at, each in enumerate(categories)]
    noisy = [
        each + noise * torch.randn(each.shape, generator=run.generator, device=run.generator.device) for each in counts
    ]
    run.model.prepare_privately(
        [denoised(each, noise, category) for each, category in zip(noisy, categories, strict=True)]
    )


def denoised(counts: Tensor, noise: float, category: Category) -> Tensor:
    """Return likelier counts (size,) of a column than the noisy ones: a public function of them costs no privacy.

    Bins hold about equally many rows, so that their counts shrink towards the mean (James & Stein 1961, positive part).
    A count below the standard deviation of its noise becomes 0.
    """
    counts, first = counts.clone(), category.size - category.bins
    if category.bins > 3:
        bins = counts[first:]
        apart = bins - bins.mean()
        counts[first:] = bins.mean() + apart * (1 - (category.bins - 3) * noise**2 / apart.square().sum()).clamp(min=0)
    return torch.where(counts >= noise, counts, 0.0)


class ClippedGradients:
    """Sums over rows of the gradients of their losses, each scaled down to the norm `CLIP` if it exceeds that."""

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        assert objective.row_losses is not None
        self._model, self._row_losses = model, objective.row_losses
        wanted = {id(parameter) for parameter in objective.parameters}
        self.parameters = {name: each for name, each in model.named_parameters() if id(each) in wanted}
        self.rows_a_call = objective.batch_rows

    def __call__(self, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """Return the sum of the clipped gradients of a batch by the name of the parameter.

        Raises:
            OptionInvalid: The norm of a row's gradient is not known, since a parameter has another use than expected.
        """
        uses = ParameterUses()
        with uses.of_modules(self._model):
            losses = self._row_losses(batch, context._replace(uses=uses))
        factors = (CLIP / uses.row_norms(losses).clamp(min=1e-12)).clamp(max=1.0)
        sums = torch.autograd.grad(losses, list(self.parameters.values()), factors, allow_unused=True)
        found = {name: each for name, each in zip(self.parameters, sums, strict=True) if each is not None}
        uses.refuse_others({name: self.parameters[name] for name in found})
        return found


def private_gradient(
    clipped: ClippedGradients,
    rows: DeviceDataset,
    chosen: Tensor,
    context: StepContext,
    *,
    noise: float,
    expected_rows: float,
) -> dict[str, Tensor]:
    """Return the sum of the clipped gradients of the chosen rows plus noise, over the expected number of rows."""
    totals = {name: torch.zeros_like(each) for name, each in clipped.parameters.items()}
    for begin in range(0, len(chosen), clipped.rows_a_call):
        batch = rows.pick(chosen[begin : begin + clipped.rows_a_call])
        for name, found in clipped(batch, context).items():
            totals[name] += found
    generator = context.generator
    for total in totals.values():
        if noise:
            total += noise * CLIP * torch.randn(total.shape, generator=generator, device=total.device)
        total /= expected_rows
    return totals


def _epoch(run: _Run, clipped: ClippedGradients, number: int) -> Epoch:
    """Take the steps of an epoch, and measure the loss of dev rows at the averaged weights."""
    begun, mechanism = time.perf_counter(), run.plan.gradients
    steps = mechanism.steps // run.epochs
    run.model.train()
    for step in range(steps):
        progress = (number + step / steps) / run.epochs
        rate = learning_rate_of(run.options, run.objective, run.objective, lr_factor=1.0, progress=progress)
        for group in run.optimizer.param_groups:
            group["lr"] = rate
        drawn = torch.rand(run.rows.rows, generator=run.generator, device=run.generator.device)
        found = private_gradient(
            clipped,
            run.rows,
            (drawn < mechanism.sample_rate).nonzero().squeeze(1),
            StepContext(progress, run.generator),
            noise=mechanism.noise,
            expected_rows=mechanism.sample_rate * run.rows.rows,
        )
        for name, parameter in clipped.parameters.items():
            parameter.grad = found[name]
        run.optimizer.step()
        run.average.follow()
    with in_place([run.average]):
        dev, _ = evaluate(run.model, run.objective, run.held_out, run.options.seed)
        some = run.rows.everything[: run.held_out.rows]
        train, _ = evaluate(run.model, run.objective, run.rows, run.options.seed, kept=some)
    if not (math.isfinite(dev) and math.isfinite(train)):
        raise TrainingDiverged(
            f"The loss is not finite in epoch {number + 1}. Lower [train] learning_rate from {rate:g} to {rate / 10:g}."
        )
    return Epoch(epoch=number + 1, train=train, dev=dev, learning_rate=rate, seconds=time.perf_counter() - begun)


def _content(run: _Run, curve: Sequence[Epoch]) -> dict[str, object]:
    return {
        "model": run.model.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "average": run.average.content(),
        "generator": run.generator.get_state(),
        "curve": [epoch.model_dump() for epoch in curve],
        "noisy_counts": list(run.model.noisy_counts or ()),
        "account": [list(mechanism) for mechanism in run.plan],
    }


def _resume(run: _Run, checkpointer: Checkpointer | None) -> list[Epoch]:
    """Restore a run from its checkpoint and return its epochs; none without one.

    Steps after the checkpoint are repeated with the same noise, so that nothing more is spent.

    Raises:
        OptionInvalid: The checkpoint has no account, or that of another noise.
    """
    found: dict[str, Any] | None = None if checkpointer is None else checkpointer.find(run.model.device)
    if checkpointer is None or found is None:
        return []
    if found.get("account") != [list(mechanism) for mechanism in run.plan]:
        raise OptionInvalid(
            f"{checkpointer.path} has no account of the privacy budget of this run: expected that of {run.plan}, got "
            f"{found.get('account')}. Remove the file to train from scratch."
        )
    run.optimizer.load_state_dict(found["optimizer"])
    run.average.restore(found["average"])
    run.generator.set_state(found["generator"].cpu())
    run.model.prepare_privately(found["noisy_counts"])
    run.model.load_state_dict(found["model"])
    log.info("training resumes after epoch %d", len(found["curve"]))
    return [Epoch(**epoch) for epoch in found["curve"]]
