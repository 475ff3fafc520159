"""Training rows per second: aepipe's loop, pythae's trainer, PyOD's AutoEncoder and a plain loop in torch.

python -m benchmarks.training [--no-page], with pythae and pyod installed, or their rows are left out.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import importlib.util
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from aepipe.config.job import Model as Section
from aepipe.config.job import Train
from aepipe.layout import Layout, Number
from aepipe.models import families
from aepipe.training.loop import fit
from benchmarks import command, zoo_peers
from benchmarks.page import measured, put_into, table

NAME = "training"
ROWS, DEV_ROWS, COLUMNS, FACTORS = 100_000, 1_000, 30, 12
HIDDEN, LATENTS, BATCH_ROWS, EPOCHS, RUNS = 64, 8, 1_000, 20, 3
GOAL = 3.0
SHOWN = (1, 2, 5, 10, 20)
OURS, PYTHAE, PLAIN, PYOD = "aepipe", "pythae's BaseTrainer", "torch with a DataLoader", "PyOD's AutoEncoder"
_HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)

Floats = NDArray[np.float32]


class Run(NamedTuple):
    """One training: rows per second, and for a VAE the loss of each epoch, in nats per row."""

    rows_per_s: float
    losses: tuple[float, ...] = ()


def rows_of(seed: int) -> Floats:
    """Generate standardised columns of a few factors with noise."""
    generator = np.random.default_rng(seed)
    mixing = generator.standard_normal((FACTORS, COLUMNS))
    rows = generator.standard_normal((ROWS, FACTORS)) @ mixing + generator.standard_normal((ROWS, COLUMNS))
    return np.asarray((rows - rows.mean(axis=0)) / rows.std(axis=0), np.float32)


def ours(rows: Floats, seed: int) -> Run:
    """Train the family `vae` with sigma 1, whose loss is then half the squared error plus the KL, as in pythae."""
    names = tuple(f"c{column}" for column in range(COLUMNS))
    layout = Layout(columns=names, numbers=tuple(Number(name=name, column=at) for at, name in enumerate(names)))
    section = {"family": "vae", "trunk": "mlp", "hidden": (HIDDEN,), "latent": LATENTS, "sigma": 1.0}
    model = families.build(layout, Section.model_validate(section), seed)
    options = Train(epochs=EPOCHS, batch_rows=BATCH_ROWS, patience=EPOCHS, learning_rate=1e-3, seed=seed)
    begun = time.perf_counter()
    curve = fit(model, {"num": rows}, {"num": rows[:DEV_ROWS]}, options)
    seconds = time.perf_counter() - begun
    losses = tuple(epoch.train - COLUMNS * _HALF_LOG_2_PI for epoch in curve.epochs)
    return Run(len(rows) * EPOCHS / seconds, losses)


def pythae(rows: Floats, seed: int) -> Run:
    """Train a VAE with the same layers by pythae's own trainer, with Adam at .001."""
    with zoo_peers.no_progress():
        trainer = zoo_peers.table_trainer(rows, latent=LATENTS, hidden=HIDDEN, batch_rows=BATCH_ROWS, seed=seed)
        for group in trainer.optimizer.param_groups:
            group["lr"] = 1e-3
        begun = time.perf_counter()
        losses = tuple(float(trainer.train_step(epoch)) for epoch in range(EPOCHS))
        seconds = time.perf_counter() - begun
    return Run(len(rows) * EPOCHS / seconds, losses)


def plain(rows: Floats, seed: int) -> Run:
    """Train with a plain loop over a DataLoader, with Adam at .001."""
    torch.manual_seed(seed)
    encode = zoo_peers.WithShortcut(COLUMNS, (HIDDEN,), 2 * LATENTS)
    decode = zoo_peers.WithShortcut(LATENTS, (HIDDEN,), COLUMNS)
    optimizer = torch.optim.Adam([*encode.parameters(), *decode.parameters()], lr=1e-3)
    batches = DataLoader(TensorDataset(torch.from_numpy(rows)), batch_size=BATCH_ROWS, shuffle=True)
    losses = []
    begun = time.perf_counter()
    for _ in range(EPOCHS):
        seen = []
        for (x,) in batches:
            loss = _negative_elbo(encode(x), decode, x)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            seen.append(loss.item())
        losses.append(statistics.fmean(seen))
    return Run(len(rows) * EPOCHS / (time.perf_counter() - begun), tuple(losses))


def _negative_elbo(answer: Tensor, decode: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    mean, log_var = answer.chunk(2, dim=1)
    rebuilt = decode(mean + torch.exp(0.5 * log_var) * torch.randn_like(mean))
    kl = -0.5 * (1 + log_var - mean.square() - log_var.exp()).sum(1).mean()
    return 0.5 * F.mse_loss(rebuilt, x, reduction="none").sum(1).mean() + kl


def pyod(rows: Floats, seed: int) -> Run:
    """Train an autoencoder of these widths with the same batches; its `fit` also scores the rows."""
    from pyod.models.auto_encoder import AutoEncoder

    model = AutoEncoder(
        hidden_neuron_list=[HIDDEN, LATENTS], batch_size=BATCH_ROWS, epoch_num=EPOCHS, verbose=0, random_state=seed
    )
    begun = time.perf_counter()
    with zoo_peers.no_progress():
        model.fit(rows)
    return Run(len(rows) * EPOCHS / (time.perf_counter() - begun))


TRAINERS: Mapping[str, tuple[str, Callable[[Floats, int], Run]]] = {
    OURS: ("aepipe", ours),
    PYTHAE: ("pythae", pythae),
    PLAIN: ("torch", plain),
    PYOD: ("pyod", pyod),
}


def medians(runs: Mapping[str, Sequence[Run]]) -> dict[str, Run]:
    """Return the median run of each trainer."""
    return {name: sorted(each)[len(each) // 2] for name, each in runs.items()}


def section(found: Mapping[str, Run]) -> str:
    """Return the table of the figures, and the curves."""
    verdict = ""
    if PYTHAE in found:
        ratio = found[OURS].rows_per_s / found[PYTHAE].rows_per_s
        verdict = f" **{ratio:.1f} times pythae's rows** (goal: {GOAL:g} times{'' if ratio >= GOAL else ', not met'})."
    lines = [
        "## Training",
        "",
        f"Made by `python -m benchmarks.training`: {ROWS:,} rows of {COLUMNS} numbers, networks "
        f"{COLUMNS}-{HIDDEN}-{LATENTS} with a linear shortcut around the hidden layer, batches of "
        f"{BATCH_ROWS:,}, {EPOCHS} "
        f"epochs, Adam at .001, one thread; interleaved runs, medians of {RUNS} runs. Losses are half the "
        "squared error and the KL, in nats per row; aepipe begins at the principal components, and lets "
        "the KL count in "
        "full after its first epochs only, which is why they are lower. Its seconds count that start and dev rows "
        "after every epoch. PyOD has no VAE's loss here, and its `fit` scores the rows.",
        "",
        measured() + verdict,
        "",
        *table(("trainer", "rows/s", "ratio of aepipe", *(f"loss {at}" for at in SHOWN)), _lines(found)),
    ]
    return "\n".join(lines) + "\n"


def _lines(found: Mapping[str, Run]) -> Iterator[tuple[str, ...]]:
    for name, run in found.items():
        losses = (f"{run.losses[at - 1]:.3f}" if run.losses else "" for at in SHOWN)
        yield name, f"{run.rows_per_s:,.0f}", f"{found[OURS].rows_per_s / run.rows_per_s:.2f}", *losses


def main() -> None:
    """Measure in turns, print, and put the table into the page."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{NAME}", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--no-page", action="store_true", help="print the table only")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    known = {name: run for name, (package, run) in TRAINERS.items() if importlib.util.find_spec(package)}
    runs: dict[str, list[Run]] = {name: [] for name in known}
    for seed in range(RUNS):
        rows = rows_of(seed)
        for name, train in known.items():
            runs[name].append(train(rows, seed))
            print(f"{name}, run {seed}: {runs[name][-1].rows_per_s:,.0f} rows/s", flush=True)
    text = section(medians(runs))
    print(text)
    if not asked.no_page:
        put_into(command.PAGE, text, name=NAME)


if __name__ == "__main__":
    main()
