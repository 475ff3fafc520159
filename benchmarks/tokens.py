"""Sequences of tokens: perplexity, use of the latents, reconstruction, parity and speed; writes docs/benchmarks.md.

Options were chosen on lines of the tutorial's forms in docs/text.md.

python -m benchmarks.tokens
python -m benchmarks.tokens --sets "log lines" --no-page
python -m benchmarks.tokens --arithmetic             # shifts of lines along an attribute; nothing else
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import pyarrow as pa
import torch

from aepipe.config.job import Model as Section
from aepipe.config.job import Train, parse_job
from aepipe.encoding import Arrays, Encoding
from aepipe.encoding import fit as fit_encoding
from aepipe.export.export import Exported, export_parts
from aepipe.models import families
from aepipe.models.base import Model
from aepipe.tables.schema_check import infer
from aepipe.training.loop import fit, measure
from benchmarks.command import PAGE, chosen
from benchmarks.page import put_into, table
from benchmarks.store import machine
from benchmarks.text import Trigrams, count_tokens, lines, rebuilt, train_recurrent

_LENGTH = 32
_DRAWN = 2_048
_ATTRIBUTES = (("cache hit", "cache miss"), ("started", "finished"), ("queue sync", "queue mail"), ("by ana", "by bo"))
"""Words that lines have before a shift, and should have after it."""


class Texts(NamedTuple):
    """Texts to learn from, and held-out ones; the first quarter of these stops training."""

    learned: list[str]
    held: list[str]


class Figures(NamedTuple):
    """Figures of one set of texts."""

    name: str
    texts: Texts
    vocabulary: int
    perplexities: tuple[float, float, float]
    """of the VAE by its bound, of the recurrent model and of trigrams"""
    active: int
    latents: int
    information: float
    right: tuple[float, float]
    """tokens and whole texts that the VAE's reconstruction has right"""
    right_of_ae: tuple[float, float]
    differing: float
    """greatest share of rows with a token that differs between a graph and torch"""
    tokens_per_s: float
    cpu_s: float


def log_lines() -> Texts:
    """Generate lines of up to 12 tokens, as `python -m benchmarks.text` does."""
    parts = (lines(count, seed=seed)[0]["message"].to_pylist() for seed, count in enumerate((1_000, 1_000)))
    return Texts(*parts)


def long_lines() -> Texts:
    """Join three generated lines, cut to 32 tokens."""
    parts = []
    for seed, count in enumerate((1_000, 1_000)):
        single = lines(3 * count, seed=seed)[0]["message"].to_pylist()
        joined = (" ; ".join(single[at : at + 3]) for at in range(0, len(single), 3))
        parts.append([" ".join(text.split()[:_LENGTH]) for text in joined])
    return Texts(*parts)


SETS: Mapping[str, Callable[[], Texts]] = {
    "log lines": log_lines,
    "long log lines": long_lines,
}


def main() -> None:
    """Measure the asked sets, print the tables and write them into the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tokens", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sets", nargs="+", metavar="NAME", help="these sets")
    parser.add_argument("--no-page", action="store_true", help="print the tables only")
    parser.add_argument("--arithmetic", action="store_true", help="print shifts of log lines along attributes alone")
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)

    if asked.arithmetic:
        print("\n".join(arithmetic()))
        return
    found = []
    for name in chosen(SETS, asked.sets):
        found.append(figures(name, SETS[name]()))
        print(found[-1]._replace(texts=Texts([], [])), flush=True)
    text = "\n".join(_section(found))
    print(text)
    if not asked.no_page:
        put_into(PAGE, text + "\n", name="tokens")


def figures(name: str, texts: Texts) -> Figures:
    """Train the VAE, the autoencoder and the models to compare with, and measure them on held-out texts."""
    encoding, learned, held = _encoded(texts)
    layout, codes = encoding.layout, held["cat"]
    began = time.process_time()
    network = _trained("vae", encoding, learned, held)
    spent = time.process_time() - began
    metrics = measure(network, held, seed=0)
    recurrent = train_recurrent(layout, learned, held, network)
    with torch.no_grad():
        of_recurrent = float(recurrent.losses(torch.from_numpy(codes).long()).sum())
    losses = (
        -metrics["log_likelihood"] * min(len(codes), 4_096),
        of_recurrent,
        float(Trigrams(learned["cat"], layout.texts[0].size).losses(codes).sum()),
    )
    exported = {each.part: each for each in export_parts(network.parts(), held)}
    return Figures(
        name,
        texts,
        layout.texts[0].size,
        tuple(float(np.exp(loss / count_tokens(codes))) for loss in losses),  # type: ignore[arg-type]
        int(metrics["active_latents"]),
        len(network.latent.names),
        metrics["mutual_information"],
        rebuilt(network, held),
        rebuilt(_trained("ae", encoding, learned, held), held),
        max(map(differing, exported.values())),
        _speed(exported["sampler"], len(network.latent.names)),
        spent,
    )


def arithmetic() -> Iterator[str]:
    """Yield how many held-out log lines say what they should after a shift along each attribute, by `ae`."""
    texts = log_lines()
    encoding, learned, held = _encoded(texts)
    network = _trained("ae", encoding, learned, held)
    for lacked, wanted in _ATTRIBUTES:
        having, lacking = ([at for at, text in enumerate(texts.learned) if word in text] for word in (wanted, lacked))
        begin = [at for at, text in enumerate(texts.held) if lacked in text]
        z = _latents(network, learned)
        vector = z[having].mean(0) - z[lacking].mean(0)
        for amount in (0, 1):
            drawn = _likeliest(encoding, network, _latents(network, held)[begin] + amount * vector)
            share = float(np.mean([wanted in text for text in drawn]))
            yield f"{lacked} -> {wanted}, amount {amount}: {share:.2f} of {len(begin)}; {drawn[0]!r}"


@torch.no_grad()
def _latents(network: Model, arrays: Arrays) -> torch.Tensor:
    row = network.preprocessing({name: torch.from_numpy(array) for name, array in arrays.items()})
    return network.posterior(row).mean


@torch.no_grad()
def _likeliest(encoding: Encoding, network: Model, z: torch.Tensor) -> list[str]:
    (codes,) = network.likelihood.expected(network.decode(z, z[:, :0]))
    texts: list[str] = encoding.decode({"cat": codes.numpy().astype(np.int32)}).column("message").to_pylist()
    return texts


def _encoded(texts: Texts) -> tuple[Encoding, Arrays, Arrays]:
    column = {"message": {"kind": "text", "length": _LENGTH + 1}}
    job = parse_job({"name": "tokens", "data": {"path": "rows"}, "columns": column}, source=Path("/job.toml"))
    learned, held = (pa.table({"message": part}) for part in texts)
    encoding = fit_encoding(infer(learned.schema, job, learned), learned.to_batches())
    arrays = (encoding.encode_table(part, rows=4_096).arrays for part in (learned, held))
    return encoding, *arrays  # type: ignore[return-value]


def _trained(family: str, encoding: Encoding, learned: Arrays, held: Arrays) -> Model:
    network = families.build(encoding.layout, Section.model_validate({"family": family}), 0)
    dev = {name: rows[: len(rows) // 4] for name, rows in held.items()}
    fit(network, learned, dev, Train())
    return network.eval()


def differing(exported: Exported) -> float:
    """Return the greatest share of rows of an exported part that have a token other than torch's; 0 without tokens."""
    shares = [0.0]
    for outputs in exported.info.parity.values():
        assert isinstance(outputs, dict)
        for differences in outputs.values():
            assert isinstance(differences, dict)
            shares.append(float(differences.get("differ", 0.0)))  # type: ignore[arg-type]
    return max(shares)


def _speed(sampler: Exported, latents: int) -> float:
    """Return the tokens that the exported sampler draws per CPU second, END included."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(sampler.onnx, options, providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(0)
    feeds = {"z": generator.standard_normal((_DRAWN, latents)).astype(np.float32)}
    for port in sampler.info.inputs:
        if port.noise is not None:
            feeds[port.name] = generator.random((_DRAWN, *port.row_shape)).astype(np.float32)
    session.run(["cat"], feeds)
    began = time.process_time()
    (codes,) = session.run(["cat"], feeds)
    return count_tokens(codes) / (time.process_time() - began)


def _section(found: list[Figures]) -> Iterator[str]:
    yield "## Sequences of tokens"
    yield ""
    sizes = "; ".join(
        f"{each.name}: {len(each.texts.learned):,} to learn from, {len(each.texts.held):,} held out, "
        f"{each.vocabulary:,} tokens known"
        for each in found
    )
    yield (
        f"Made by `python -m benchmarks.tokens`, {datetime.now(UTC).date()}, {machine()}, one thread. `vae` with its "
        f"defaults, texts of up to {_LENGTH} words ({sizes}). Log lines are generated, long ones join three. "
        "Options were chosen on lines of other forms. Perplexity per token of held-out texts: of `vae` by "
        "its bound of 64 draws; the recurrent model has "
        "its size and no latents, and is stopped early. Active latents: the mean varies between rows; information: "
        "mutual information of held-out texts and latents, at most 6.9 nats. Right: tokens at the same position, and "
        "whole texts, of the likeliest text given the latents. Differing: share of 512 texts with a token "
        "other than torch's, the greatest over the exported graphs. Tokens per second are drawn by the exported graph "
        "on one core."
    )
    yield ""
    header = ("set", "vae", "recurrent model", "trigrams", "active latents", "information, nats")
    rows = [
        (
            each.name,
            *(f"{value:.2f}" for value in each.perplexities),
            f"{each.active} of {each.latents}",
            f"{each.information:.1f}",
        )
        for each in found
    ]
    yield from table(header, rows)
    yield ""
    header = ("set", "vae: tokens, texts right", "ae: tokens, texts right", "differing", "tokens per s", "CPU seconds")
    rows = [
        (
            each.name,
            *(f"{tokens:.2f}, {texts:.2f}" for tokens, texts in (each.right, each.right_of_ae)),
            f"{each.differing:.3f}",
            f"{each.tokens_per_s:,.0f}",
            f"{each.cpu_s:.0f}",
        )
        for each in found
    ]
    yield from table(header, rows)


if __name__ == "__main__":
    main()
