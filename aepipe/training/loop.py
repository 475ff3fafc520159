"""Training loop: alternating optimisation with early stopping on dev rows."""

import logging
import math
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import AdamW, Optimizer

from aepipe.config.job import Train
from aepipe.errors import TrainingDiverged
from aepipe.models.base import Batch, Loss, Model, Objective, StepContext
from aepipe.models.layers.likelihood import Residual
from aepipe.progress import Progress, no_progress
from aepipe.training.checkpoint import Checkpointer
from aepipe.training.device_dataset import DeviceDataset
from aepipe.training.history import Curve, Epoch
from aepipe.training.schedule import epochs_of, for_large_table, learning_rate_of, patience_of
from aepipe.training.state import TrainingState
from aepipe.training.threads import SMALL_STEP, single_threaded
from aepipe.training.weight_average import Average, in_place

log = logging.getLogger(__name__)

Arrays = Mapping[str, NDArray[np.generic]]

_LEAST_STEPS = 16  # per epoch, reached by smaller batches if there are enough rows
_LEAST_BATCH_ROWS = 16
_DEV_ROWS_A_CALL = 4_096
_PREPARE_BYTES = 1 << 30
_EPOCHS_BEFORE_TRIMMING = 3
_EPOCHS_PER_CHOICE, _WIDE = 4, 500
"""Epochs that a choice of trimmed training rows lasts, in tables of at least this number of columns.

To score all rows in each epoch takes an eighth of the CPU time of a training on polluted rows with 1,555 columns. In
tables of 10 columns it takes no time that can be measured.
"""
_EPOCH_ROWS = 65_536
"""Maximum rows of an epoch if the job sets no number of epochs: for large tables, patience counts steps, not passes."""
_DEV_ROWS = 8_192
"""Dev rows that decide when training stops; more of them would take a large share of the time."""


class TrainingContext(NamedTuple):
    """Fixed parts of a training run."""

    model: Model
    objectives: tuple[Objective, ...]
    optimizers: dict[str, AdamW]
    averages: dict[str, Average]
    rows: DeviceDataset
    held_out: DeviceDataset
    options: Train
    generator: torch.Generator


def fit(
    model: Model,
    train: Arrays,
    dev: Arrays,
    options: Train,
    *,
    device: str = "cpu",
    checkpoint: Path | None = None,
    every_s: float = 10.0,
    progress: Progress | None = None,
) -> Curve:
    """Train a model in place and leave it in eval mode with the weights that were best on dev rows.

    An interrupted run resumes from its checkpoint, written at least every `every_s` seconds, and reaches the same
    weights bit for bit (on a CPU).

    Raises:
        TrainingDiverged: If a loss is not finite.
    """
    context = _setup(model, train, dev, options, torch.device(device))
    _prepare(context)
    if not context.objectives:
        return Curve(stopped_because="solved in closed form")
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    rows = f"{context.rows.rows} {context.held_out.rows}"
    key = f"{type(model).__name__} {shapes} {rows} {options.model_dump_json()}"
    checkpointer = None if checkpoint is None else Checkpointer(checkpoint, key, every_s)
    with single_threaded(_multiplications(context) < SMALL_STEP):
        training_state, reason = _resume(context, checkpointer), ""
        for phase in sorted({objective.phase for objective in context.objectives}):
            if phase >= training_state.phase:
                reason = _run_phase(context, phase, training_state, checkpointer, progress or no_progress)
    log.info("trained %d epochs, best %d: %s", len(training_state.curve), training_state.best_epoch, reason)
    return Curve(
        epochs=tuple(training_state.curve),
        best_epoch=training_state.best_epoch,
        stopped_because=reason,
        rows_per_s=training_state.rows / max(training_state.seconds, 1e-9),
    )


def _setup(model: Model, train: Arrays, dev: Arrays, options: Train, device: torch.device) -> TrainingContext:
    model.to(device)
    rows, held_out = DeviceDataset(model.preprocessing, train, device), DeviceDataset(model.preprocessing, dev, device)
    model.training_rows = rows.rows
    objectives = model.objectives()
    if len(objectives) == 1:
        objectives = (for_large_table(objectives[0], options, rows.rows),)
    generator = torch.Generator(device)
    generator.manual_seed(options.seed)
    optimizers = {
        objective.name: AdamW(_groups(objective), betas=objective.betas, weight_decay=options.weight_decay, fused=True)
        for objective in objectives
    }
    averages = {
        objective.name: Average(objective.parameters, objective.averaged)
        for objective in objectives
        if objective.averaged
    }
    return TrainingContext(
        model, objectives, optimizers, averages, rows, held_out if held_out.rows else rows, options, generator
    )


def _groups(objective: Objective) -> list[dict[str, Any]]:
    """Return the parameters in groups of one learning rate each, in the order of `_rate_factors`."""
    if objective.output_rate == 1.0:
        return [{"params": objective.parameters}]
    outputs = set(map(id, objective.output_layer))
    others = [parameter for parameter in objective.parameters if id(parameter) not in outputs]
    return [{"params": others}, {"params": objective.output_layer}]


def _rate_factors(objective: Objective) -> tuple[float, ...]:
    """Return the factor of the learning rate of each group of parameters."""
    return (1.0,) if objective.output_rate == 1.0 else (1.0, objective.output_rate)


@torch.no_grad()
def _prepare(context: TrainingContext) -> None:
    """Set closed-form weights and the first sigma from at most 1 GiB of training rows."""
    model = context.model.eval()
    model.prepare(next(context.rows.slices(max(1, _PREPARE_BYTES // (4 * model.layout.features)))))
    if context.objectives:
        some = next(context.rows.slices(_DEV_ROWS_A_CALL))
        model.likelihood.sigma.follow(model.likelihood.misfit(model.reconstruct(some.input).params, some.target), 1.0)


def _multiplications(context: TrainingContext) -> int:
    """Estimate the multiplications of a forward step; convolutions take some thousands per pixel."""
    rows = -(-context.rows.rows // _steps(context.rows.rows, _batch_rows(context, context.objectives[0])))
    if context.model.layout.image is not None:
        return rows * context.model.layout.image.pixels * 2_500
    steps = 1 if context.model.layout.series is None else context.model.layout.series.steps
    return (
        rows * steps * sum(parameter.numel() for objective in context.objectives for parameter in objective.parameters)
    )


def _run_phase(
    context: TrainingContext,
    phase: int,
    training_state: TrainingState,
    checkpointer: Checkpointer | None,
    progress: Progress,
) -> str:
    """Train until the patience or the epochs run out, load the best weights, and return why training ended."""
    options, objectives = context.options, [objective for objective in context.objectives if objective.phase == phase]
    epochs = epochs_of(options, objectives)
    averages = [context.averages[objective.name] for objective in objectives if objective.name in context.averages]
    patience = patience_of(options, objectives)
    training_state.enter(phase)
    while training_state.epoch < epochs and training_state.epochs_since_best < patience:
        train = _run_epoch(context, objectives, training_state, epochs)
        warmed_up = training_state.epoch >= objectives[0].warms_up * epochs
        with in_place(averages):
            epoch = _evaluate_epoch(context, objectives[0], training_state, train, epochs)
            training_state.record_epoch(epoch, context.model.state_dict(), options.patience, warmed_up=warmed_up)
        if checkpointer is not None:
            checkpointer.keep(lambda: _content(context, training_state))
        progress("training", training_state.epoch / epochs)
    context.model.load_state_dict(training_state.best)
    kept = _kept_rows(context, context.held_out, training_state, among=context.held_out.everything)
    _, misfit = evaluate(context.model, objectives[0], context.held_out, options.seed, kept=kept)
    if misfit is not None:
        context.model.likelihood.sigma.follow(misfit, 1.0)  # residuals on dev rows
    if training_state.epochs_since_best >= patience:
        return f"no better loss on dev rows for {patience} epochs"
    return f"all {epochs} epochs done"


def _evaluate_epoch(
    context: TrainingContext, objective: Objective, training_state: TrainingState, passed: "_Pass", epochs: int
) -> Epoch:
    """Return the record of this epoch with its loss on dev rows."""
    begun = time.perf_counter()
    number, means = len(training_state.curve) + 1, dict(passed.means)
    kept = _kept_rows(context, context.held_out, training_state, among=_dev_rows(context.held_out))
    dev, _ = evaluate(context.model, objective, context.held_out, context.options.seed, kept=kept)
    rate = _learning_rate(context, objective, training_state, training_state.epoch / epochs)
    _check_finite({**means, f"{objective.name} on dev rows": dev}, number, rate)
    train = means.pop(objective.name)
    seconds = passed.seconds + time.perf_counter() - begun
    return Epoch(
        epoch=number, phase=training_state.phase, train=train, dev=dev, terms=means, learning_rate=rate, seconds=seconds
    )


class _Pass(NamedTuple):
    """Mean losses and terms of a pass over the rows, and its duration."""

    means: Mapping[str, float]
    seconds: float


def _run_epoch(
    context: TrainingContext, objectives: Sequence[Objective], training_state: TrainingState, epochs: int
) -> _Pass:
    """Run one pass over the rows, with a separate order per objective, and return mean losses and terms."""
    begun = time.perf_counter()
    generator = context.generator
    kept = _training_rows(context, objectives[0], training_state)
    steps = _steps(len(kept), _batch_rows(context, objectives[0]))
    shuffled = [kept[torch.randperm(len(kept), generator=generator, device=generator.device)] for _ in objectives]
    orders = [rows.tensor_split(steps) for rows in shuffled]  # batches of nearly equal size
    found: defaultdict[str, list[Tensor]] = defaultdict(list)
    context.model.train()
    for step in range(steps):
        step_context = StepContext((training_state.epoch + step / steps) / epochs, context.generator)
        for objective, order in zip(objectives, orders, strict=True):
            rate = _learning_rate(context, objective, training_state, step_context.progress)
            groups = context.optimizers[objective.name].param_groups
            for group, factor in zip(groups, _rate_factors(objective), strict=True):
                group["lr"] = factor * rate
            loss = optimizer_step(
                context.model,
                objective,
                context.optimizers[objective.name],
                context.rows.pick(order[step]),
                step_context,
            )
            found[objective.name].append(loss.total.detach())
            for name, term in loss.terms.items():
                found[f"{objective.name}.{name}"].append(term)
            if objective.name in context.averages:
                context.averages[objective.name].follow()
    means = torch.stack([torch.stack(values).mean() for values in found.values()])
    seconds = time.perf_counter() - begun
    training_state.seconds += seconds
    training_state.rows += len(kept)
    return _Pass(dict(zip(found, means.tolist(), strict=True)), seconds)


def optimizer_step(
    model: Model, objective: Objective, optimizer: Optimizer, batch: Batch, step_context: StepContext
) -> Loss:
    """Update the parameters of one objective, and an optimal sigma."""
    dense = batch.input.dense
    noisy = corrupted(model, batch, step_context.generator)
    noisy = replace(noisy, target=model.likelihood.heard(batch.target, step_context.generator))
    with torch.autocast(dense.device.type, torch.bfloat16, enabled=dense.is_cuda):
        loss = objective.loss(noisy, step_context)
    for parameter in objective.parameters:
        parameter.grad = None
    torch.autograd.backward(loss.total, inputs=objective.parameters)
    optimizer.step()
    if loss.misfit is not None:
        model.likelihood.sigma.follow(loss.misfit)
    return loss


@torch.no_grad()
def corrupted(model: Model, batch: Batch, generator: torch.Generator) -> Batch:
    """Return the batch with corrupted inputs."""
    return replace(batch, input=model.corruption(batch.input, generator))


@torch.no_grad()
def evaluate(
    model: Model, objective: Objective, rows: DeviceDataset, seed: int, *, kept: Tensor | None = None
) -> tuple[float, Residual | None]:
    """Return the mean loss of an objective at the sigma optimal for these rows, and their residuals; in eval mode.

    The noise is the same in every call. An optimal sigma is evaluated at its optimum for these rows, so that training
    does not stop early because of a sigma that is refitted in closed form afterwards.

    Args:
        model: Model to evaluate.
        objective: Objective whose loss is returned.
        rows: Rows to evaluate on.
        seed: Seed of the noise.
        kept: Index of the rows to use; None: all.
    """
    model.eval()
    generator = torch.Generator(model.device)
    generator.manual_seed(seed)
    total, misfit = torch.zeros((), device=model.device), None
    for batch in rows.slices(_DEV_ROWS_A_CALL, kept):
        loss = objective.loss(corrupted(model, batch, generator), StepContext(1.0, generator))
        total = total + loss.total * len(batch.input.dense)
        if loss.misfit is not None:
            misfit = loss.misfit if misfit is None else Residual(*map(torch.add, misfit, loss.misfit))
    if misfit is not None:
        total = total - model.likelihood.sigma.regret(misfit)
    return float(total / (rows.rows if kept is None else len(kept))), misfit


@torch.no_grad()
def measure(model: Model, arrays: Arrays, *, seed: int) -> dict[str, float]:
    """Compute the metrics of the model card on at most 4,096 of these rows; in eval mode."""
    model.eval()
    generator = torch.Generator(model.device)
    generator.manual_seed(seed)
    some = {name: array[:_DEV_ROWS_A_CALL] for name, array in arrays.items()}
    batch = next(DeviceDataset(model.preprocessing, some, model.device).slices(_DEV_ROWS_A_CALL))
    metrics = model.card_metrics(batch, generator)
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def _steps(rows: int, batch_rows: int) -> int:
    """Return the number of batches per epoch, each of at most `batch_rows` rows.

    >>> _steps(1_000_000, 256), _steps(1_050, 256), _steps(20, 256)
    (3907, 17, 2)
    """
    size = min(batch_rows, max(_LEAST_BATCH_ROWS, rows // _LEAST_STEPS))
    return -(-rows // size)


def _batch_rows(context: TrainingContext, objective: Objective) -> int:
    on_cpu = objective.cpu_batch_rows if context.model.device.type == "cpu" else None
    return context.options.batch_rows or on_cpu or objective.batch_rows


def _rows_of_epoch(context: TrainingContext, objective: Objective) -> Tensor:
    """Return the index of the rows of an epoch: all, or a number of them drawn at random.

    Unless the objective sets the number, all are used if the job sets the number of epochs, if a schedule rather than
    patience ends the phase, and without averaged weights, which lose more by fewer steps than they gain.
    """
    every = context.rows.everything
    is_whole = context.options.epochs is not None or objective.anneals or not objective.averaged
    most = objective.epoch_rows or (len(every) if is_whole else _EPOCH_ROWS)
    if len(every) <= most:
        return every
    drawn = torch.randperm(len(every), generator=context.generator, device=context.generator.device)
    return drawn[:most].sort().values


def _dev_rows(held_out: DeviceDataset) -> Tensor:
    """Return the index of the dev rows that every epoch is evaluated on: all, or `_DEV_ROWS` evenly apart."""
    every = held_out.everything
    if len(every) <= _DEV_ROWS:
        return every
    return every[torch.arange(_DEV_ROWS, device=every.device) * len(every) // _DEV_ROWS]


def _training_rows(context: TrainingContext, objective: Objective, training_state: TrainingState) -> Tensor:
    """Return the index of the rows of an epoch, without the trimmed ones.

    In a wide table a choice of trimmed rows lasts some epochs, unless each epoch has a part of the rows of its own.
    """
    among = _rows_of_epoch(context, objective)
    trimming = len(training_state.curve) - _EPOCHS_BEFORE_TRIMMING
    is_wide = len(context.model.layout.columns) >= _WIDE and len(among) == len(context.rows.everything)
    if not (context.options.trimmed and is_wide) or trimming < 0:
        return _kept_rows(context, context.rows, training_state, among=among)
    if training_state.kept is None or trimming % _EPOCHS_PER_CHOICE == 0:
        training_state.kept = _kept_rows(context, context.rows, training_state, among=among)
    return training_state.kept


def _kept_rows(
    context: TrainingContext, rows: DeviceDataset, training_state: TrainingState, *, among: Tensor
) -> Tensor:
    """Return the index of the rows to train on, without the worst reconstructed ones after the first epochs."""
    share = context.options.trimmed
    if not share or len(training_state.curve) < _EPOCHS_BEFORE_TRIMMING:
        return among
    losses = torch.cat([row_losses(context.model, batch) for batch in rows.slices(_DEV_ROWS_A_CALL, among)])
    kept = losses.topk(max(1, math.ceil((1 - share) * len(losses))), largest=False).indices.sort().values
    return among[kept]


@torch.no_grad()
def row_losses(model: Model, batch: Batch) -> Tensor:
    """Return the negative log-likelihood of each row at its latent means, (B,) in nats; in eval mode."""
    model.eval()
    return model.likelihood.nll(model.reconstruct(batch.input).params, batch.target).sum(1)


def _learning_rate(
    context: TrainingContext, objective: Objective, training_state: TrainingState, progress: float
) -> float:
    return learning_rate_of(
        context.options, objective, context.objectives[0], lr_factor=training_state.lr_factor, progress=progress
    )


def _check_finite(losses: Mapping[str, float], epoch: int, rate: float) -> None:
    wrong = [name for name, loss in losses.items() if not math.isfinite(loss)]
    if wrong:
        raise TrainingDiverged(
            f"The loss of {wrong[0]} is not finite in epoch {epoch}. Lower [train] learning_rate from {rate:g} to "
            f"{rate / 10:g}, or look for extreme values in the training rows."
        )


def _resume(context: TrainingContext, checkpointer: Checkpointer | None) -> TrainingState:
    found = None if checkpointer is None else checkpointer.find(context.model.device)
    if found is None:
        return TrainingState()
    context.model.load_state_dict(found["model"])
    for name, optimizer in context.optimizers.items():
        optimizer.load_state_dict(found["optimizers"][name])
    for name, average in context.averages.items():
        average.restore(found["averages"][name])
    context.generator.set_state(found["generator"].cpu())
    training_state = TrainingState.of(found["standing"])
    log.info("training resumes after epoch %d", len(training_state.curve))
    return training_state


def _content(context: TrainingContext, training_state: TrainingState) -> dict[str, object]:
    return {
        "model": context.model.state_dict(),
        "optimizers": {name: optimizer.state_dict() for name, optimizer in context.optimizers.items()},
        "averages": {name: average.content() for name, average in context.averages.items()},
        "generator": context.generator.get_state(),
        "standing": training_state.content(),
    }
