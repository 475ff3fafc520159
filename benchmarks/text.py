"""Find log lines of new forms and predict tokens, against trigrams and a recurrent model; writes docs/benchmarks.md.

The forms differ from the tutorial's in docs/text.md, on which the default head was chosen.

python -m benchmarks.text
python -m benchmarks.text --lines 1000 --families ae --no-page
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from aepipe.config import job as config
from aepipe.config.job import Train, parse_job
from aepipe.encoding import Arrays
from aepipe.encoding import fit as fit_encoding
from aepipe.heads import scores as heads
from aepipe.heads.base import HeadStats
from aepipe.heads.model_outputs import ModelProbe, collect_outputs
from aepipe.layout import END, Layout
from aepipe.metrics.ranking import Ranking, ranking_auroc
from aepipe.models import families
from aepipe.models.base import Model
from aepipe.models.layers.token_decoder import TokenDecoder
from aepipe.models.layers.tokens import within
from aepipe.tables.schema_check import infer
from aepipe.training.loop import fit, measure
from benchmarks.page import put_into, table
from benchmarks.store import machine

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
ALPHA = 0.01
_SMOOTHING = 0.05
_PATIENCE = 3
_RECONSTRUCTED = 1_000
_USUAL = (
    "job {n} started on worker {w} by {user}",
    "job {n} finished on worker {w} after {s} seconds",
    "worker {w} joined the pool with {c} cores",
    "cache hit for key user:{n} in {s} us",
    "cache miss for key user:{n}, loading from {store}",
    "retry {c} of request {n} to {store} after timeout",
    "certificate of {store} renewed for {c} days",
    "user {user} changed the limit of queue {queue} to {n}",
    "queue {queue} holds {n} messages, oldest {s} s",
    "backup of {store} completed: {n} objects in {s} seconds",
)
_NOVEL = (
    "job {n} killed on worker {w}: out of memory",
    "user {user} disabled the audit of {store}",
    "certificate of {store} expired {c} days ago",
    "checksum mismatch in object {n} of {store}",
    "cache hit for key root:{n} in {s} us",
)


class Result(NamedTuple):
    """Figures of one model; `perplexity` is per token of usual lines, `active` the number of used latents."""

    auroc: float
    recall: float
    false_alarms: float
    perplexity: float
    active: float
    cpu_s: float
    right: float = np.nan
    """share of the tokens of usual lines that the greedy reconstruction has at the same position"""


def lines(count: int, *, seed: int, novel: float = 0.0) -> tuple[pa.Table, NDArray[np.bool_]]:
    """Generate log lines; return the table, and which lines have a novel form, (B,)."""
    rng = np.random.default_rng(seed)
    is_novel = rng.random(count) < novel
    texts = [
        str(rng.choice(_NOVEL if each else _USUAL)).format(
            n=rng.integers(1, 100_000),
            w=rng.integers(1, 30),
            s=rng.integers(1, 900),
            c=rng.integers(2, 90),
            user=rng.choice(["ana", "bo", "cy", "deploy"]),
            store=rng.choice(["orders", "images", "ledger"]),
            queue=rng.choice(["mail", "sync"]),
        )
        for each in is_novel
    ]
    return pa.table({"load": rng.normal(size=count), "message": texts}), is_novel


def main() -> None:
    """Measure the asked families, print the table and write it into the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.text", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--families", nargs="+", default=["vae", "ae"])
    parser.add_argument("--lines", type=int, default=1_000, help="usual lines to learn from")
    parser.add_argument("--no-page", action="store_true", help="print the table only")
    asked = parser.parse_args()

    usual, _ = lines(asked.lines, seed=0)
    calibration, _ = lines(4_000, seed=1)
    later, is_novel = lines(8_000, seed=2, novel=0.02)
    job = parse_job(
        {"name": "text", "data": {"path": "rows"}, "columns": {"message": "text"}}, source=Path("/job.toml")
    )
    encoding = fit_encoding(infer(usual.schema, job, usual), usual.to_batches())
    learned, held, scored = (encoding.encode_table(table, rows=4_096).arrays for table in (usual, calibration, later))
    parts = _Parts(learned, held, scored, is_novel)
    found = {family: _family(family, job.model, encoding.layout, parts) for family in asked.families}
    found["recurrent model"] = _recurrent(encoding.layout, parts, families.build(encoding.layout, job.model, 0))
    found["trigrams"] = _trigrams(encoding.layout, parts)
    text = "\n".join(_section(found, asked.lines, int(is_novel.sum()), encoding.layout.texts[0].length))
    print(text)
    if not asked.no_page:
        put_into(PAGE, text + "\n", name="text")


class _Parts(NamedTuple):
    """Encoded lines: to learn from, usual ones for calibration, and later ones, some of them novel."""

    learned: Arrays
    held: Arrays
    scored: Arrays
    is_novel: NDArray[np.bool_]


def _family(name: str, model: config.Model, layout: Layout, parts: _Parts) -> Result:
    began = time.process_time()
    network = families.build(layout, model.model_copy(update={"family": name}), 0)
    dev = {name: rows[: len(rows) // 4] for name, rows in parts.held.items()}
    fit(network, parts.learned, dev, Train())
    spent = time.process_time() - began
    probe = ModelProbe(network).eval()
    learned, held, scored = (collect_outputs(probe, rows, most=20_000, seed=0) for rows in parts[:3])
    head = heads.find(heads.resolve("auto", "clean", has_texts=True)).fit(HeadStats(learned, learned))
    with torch.no_grad():
        found = _detection(head(scored).numpy(), head(held).numpy(), parts.is_novel)
    metrics = measure(network, parts.held, seed=0)
    perplexity = np.nan
    if "log_likelihood" in metrics:
        load = float(
            np.mean(0.5 * np.log(2 * np.pi) + 0.5 * parts.held["num"] ** 2)
        )  # nats of the column load, N(0, 1)
        cat = parts.held["cat"]
        perplexity = float(np.exp((-metrics["log_likelihood"] - load) * len(cat) / count_tokens(cat)))
    right, _ = rebuilt(network, parts.held)
    return Result(*found, perplexity, metrics.get("active_latents", np.nan), spent, right)


@torch.no_grad()
def rebuilt(network: Model, held: Arrays) -> tuple[float, float]:
    """Return the shares of tokens, END included, and of whole texts that the likeliest text of the latents repeats."""
    few = {name: torch.from_numpy(rows[:_RECONSTRUCTED]) for name, rows in held.items()}
    row = network.preprocessing(few)
    *_, guessed = network.likelihood.expected(network.reconstruct(row).params)
    right, counted = guessed.long() == row.codes, within(row.codes)
    return float(right[counted].float().mean()), float((right | ~counted).all(1).float().mean())


class RecurrentModel(nn.Module):
    """Recurrent language model: the decoder of a text alone, with one learned context for all lines."""

    def __init__(self, layout: Layout, state: int) -> None:
        super().__init__()
        self.decoder = TokenDecoder(layout.texts[0], layout.categories[0], state)
        self.context = nn.Parameter(torch.zeros(1, self.decoder.width))

    def losses(self, tokens: Tensor) -> Tensor:
        """Return -log p of each line, (B,) in nats."""
        context = self.context.expand(len(tokens), -1)
        return (self.decoder.nll(context, tokens, tokens) * within(tokens)).sum(1)


def _recurrent(layout: Layout, parts: _Parts, like: Model) -> Result:
    began = time.process_time()
    network = train_recurrent(layout, parts.learned, parts.held, like)
    spent = time.process_time() - began
    with torch.no_grad():
        usual, scored = (network.losses(torch.from_numpy(each["cat"]).long()).numpy() for each in parts[1:3])
    perplexity = float(np.exp(usual.sum() / count_tokens(parts.held["cat"])))
    return Result(*_detection(scored, usual, parts.is_novel), perplexity, np.nan, spent)


def train_recurrent(layout: Layout, learned: Arrays, held: Arrays, like: nn.Module) -> RecurrentModel:
    """Train a recurrent model of the size of `like`, until the loss of the first quarter of held-out rows rises."""
    wanted = sum(each.numel() for each in like.parameters())
    torch.manual_seed(0)
    sizes = range(64, 640, 16)
    counts = [sum(each.numel() for each in RecurrentModel(layout, size).parameters()) for size in sizes]
    network = RecurrentModel(layout, sizes[int(np.abs(np.array(counts) - wanted).argmin())])
    rows = torch.from_numpy(learned["cat"]).long()
    dev = torch.from_numpy(held["cat"][: len(held["cat"]) // 4]).long()
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.0)
    best, state, patience = np.inf, network.state_dict(), 0
    for _ in range(200):
        for batch in torch.randperm(len(rows)).split(32):
            optimiser.zero_grad()
            network.losses(rows[batch]).mean().backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
        with torch.no_grad():
            loss = float(network.losses(dev).mean())
        best, patience = (loss, 0) if loss < best else (best, patience + 1)
        if patience == 0:
            state = {name: value.clone() for name, value in network.state_dict().items()}
        if patience == _PATIENCE:
            break
    network.load_state_dict(state)
    return network


def _trigrams(layout: Layout, parts: _Parts) -> Result:
    began = time.process_time()
    model = Trigrams(parts.learned["cat"], layout.texts[0].size)
    scored, held = model.losses(parts.scored["cat"]), model.losses(parts.held["cat"])
    perplexity = float(np.exp(held.sum() / count_tokens(parts.held["cat"])))
    return Result(*_detection(scored, held, parts.is_novel), perplexity, np.nan, time.process_time() - began)


class Trigrams:
    """Trigram model of tokens with additive smoothing, mixed evenly with bigrams and unigrams."""

    def __init__(self, codes: NDArray[np.integer], size: int) -> None:
        self._size = size
        self._counts: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(4)]
        for row in codes.tolist():
            for order in range(1, 4):
                for gram in _grams(row, order):
                    self._counts[order][gram] += 1
        self._given = [Counter[tuple[int, ...]]() for _ in range(4)]
        for order in range(1, 4):
            for gram, count in self._counts[order].items():
                self._given[order][gram[:-1]] += count

    def losses(self, codes: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return -log p of each row, (B,) in nats."""
        return np.array([sum(-np.log(self._probability(gram)) for gram in _grams(row, 3)) for row in codes.tolist()])

    def _probability(self, gram: tuple[int, ...]) -> float:
        parts = [
            (self._counts[order][gram[3 - order :]] + _SMOOTHING)
            / (self._given[order][gram[3 - order : -1]] + _SMOOTHING * self._size)
            for order in range(1, 4)
        ]
        return float(np.mean(parts))


def _grams(row: list[int], order: int) -> Iterator[tuple[int, ...]]:
    """Yield the n-grams that end at each token up to END; END also stands before the first token."""
    end = row.index(END) + 1 if END in row else len(row)
    padded = [END] * (order - 1) + row[:end]
    for at in range(end):
        yield tuple(padded[at : at + order])


def count_tokens(codes: NDArray[np.integer]) -> int:
    """Return the number of tokens of all rows, with one END each."""
    return int((codes != END).sum() + (codes == END).any(axis=1).sum())


def _detection(
    scores: NDArray[np.generic], usual: NDArray[np.generic], is_novel: NDArray[np.bool_]
) -> tuple[float, float, float]:
    flagged = scores > np.quantile(usual, 1 - ALPHA)
    auroc = ranking_auroc(Ranking.of(is_novel, scores.astype(np.float64)))
    return auroc, float(flagged[is_novel].mean()), float(flagged[~is_novel].mean())


def _section(found: dict[str, Result], count: int, novel: int, length: int) -> Iterator[str]:
    yield "## Log lines"
    yield ""
    yield (
        f"Made by `python -m benchmarks.text`, {datetime.now(UTC).date()}, {machine()}, one thread. {count:,} "
        f"generated lines of {len(_USUAL)} forms to learn from; {novel} of 8,000 later lines have one of "
        f"{len(_NOVEL)} new forms. Recall and false alarms at alpha {ALPHA:g}, calibrated on 4,000 other usual lines. "
        "Perplexity per token of usual lines: of `vae` by its bound of 64 draws; autoencoders have none, as they see "
        "the line. The recurrent model is the decoder alone, of the size of `vae`, stopped early; the "
        "trigram model mixes trigrams, bigrams and unigrams. Tokens right: of the likeliest line given the latents, of "
        f"{_RECONSTRUCTED:,} usual lines of up to {length} tokens."
    )
    yield ""
    header = ("model", "AUROC", "recall", "false alarms", "perplexity", "active latents", "tokens right", "CPU seconds")
    lines = []
    for name, each in found.items():
        figures = (f"{each.auroc:.3f}", f"{each.recall:.2f}", f"{each.false_alarms:.3f}", _or_none(each.perplexity, 2))
        lines.append((name, *figures, _or_none(each.active, 0), _or_none(each.right, 2), f"{each.cpu_s:.0f}"))
    yield from table(header, lines)


def _or_none(value: float, digits: int) -> str:
    return "" if np.isnan(value) else f"{value:.{digits}f}"


if __name__ == "__main__":
    main()
