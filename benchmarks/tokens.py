"""Sequences of tokens: perplexity, use of the latents, reconstruction, parity and speed; writes docs/benchmarks.md.

Options were chosen on lines of the tutorial's forms in docs/text.md.

python -m benchmarks.tokens
python -m benchmarks.tokens --sets "log lines" --no-page
python -m benchmarks.tokens --arithmetic             # shifts of lines along an attribute; nothing else
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import functools
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import pyarrow as pa
import torch
from numpy.typing import NDArray

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
_BOUND_ROWS = 4_096
"""Rows that the bound of `measure` is the mean of, at most."""
MODELS: Mapping[str, Mapping[str, object]] = {
    "vae": {"family": "vae"},
    "vae, trunk transformer": {"family": "vae", "trunk": "transformer"},
    "ae": {"family": "ae"},
}
_ATTRIBUTES = (("cache hit", "cache miss"), ("started", "finished"), ("queue sync", "queue mail"), ("by ana", "by bo"))
"""Words that lines have before a shift, and should have after it."""
_SHIFTED: Mapping[str, tuple[str, bool]] = {"ae": ("ae", False), "ae with load": ("ae", True), "vae": ("vae", False)}
"""Models whose latents are shifted, and whether the table has the number `load` as well."""


class Texts(NamedTuple):
    """Texts to learn from, and held-out ones; the first quarter of these stops training."""

    learned: list[str]
    held: list[str]


class Parts(NamedTuple):
    """Encoded texts to learn from and held-out ones."""

    encoding: Encoding
    learned: Arrays
    held: Arrays


class Trained(NamedTuple):
    """A trained network, what it learned from, and the CPU seconds that it took."""

    network: Model
    parts: Parts
    cpu_s: float


class Figures(NamedTuple):
    """Figures of one model of one set of texts; NaN or empty where a model has none."""

    name: str
    model: str
    perplexity: float = np.nan
    active: str = ""
    information: float = np.nan
    right: tuple[float, float] = (np.nan, np.nan)
    """tokens and whole texts that the reconstruction has right"""
    differing: float = np.nan
    """greatest share of rows with a token that differs between a graph and torch"""
    tokens_per_s: float = np.nan
    cpu_s: float = np.nan


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
    parser.add_argument("--models", nargs="+", metavar="NAME", help="these models; default: all")
    parser.add_argument("--no-page", action="store_true", help="print the tables only")
    parser.add_argument("--arithmetic", action="store_true", help="print shifts of log lines along attributes alone")
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)

    if asked.arithmetic:
        print("\n".join(_shifts()))
        return
    names = [name for name in SETS if name in chosen(SETS, asked.sets)]
    models = [model for model in MODELS if model in chosen(MODELS, asked.models)]
    found = [each for name in names for each in figures(name, models)]
    text = "\n".join((*_section(names, found), "", *_shifts()))
    print(text)
    if not asked.no_page:
        put_into(PAGE, text + "\n", name="tokens")


def figures(name: str, models: Sequence[str]) -> Iterator[Figures]:
    """Yield the figures of the models, of a recurrent model of the size of the first one and of trigrams."""
    for model in models:
        yield _printed(_figures_of(name, model, trained(name, model)))
    network, (encoding, learned, held), _ = trained(name, models[0])
    codes = held["cat"]
    began = time.process_time()
    recurrent = train_recurrent(encoding.layout, learned, held, network)
    spent = time.process_time() - began
    with torch.no_grad():
        losses = float(recurrent.losses(torch.from_numpy(codes).long()).sum())
    yield _printed(Figures(name, "recurrent model", _perplexity(losses, codes), cpu_s=spent))
    losses = float(Trigrams(learned["cat"], encoding.layout.texts[0].size).losses(codes).sum())
    yield _printed(Figures(name, "trigrams", _perplexity(losses, codes)))


def _figures_of(name: str, model: str, made: Trained) -> Figures:
    network, parts, spent = made
    codes, latents = parts.held["cat"], len(network.latent.names)
    metrics = measure(network, parts.held, seed=0)
    exported = {each.part: each for each in export_parts(network.parts(), parts.held)}
    figures = Figures(
        name,
        model,
        right=rebuilt(network, parts.held),
        differing=max(map(differing, exported.values())),
        tokens_per_s=_speed(exported["sampler"], latents),
        cpu_s=spent,
    )
    if "log_likelihood" not in metrics:
        return figures
    return figures._replace(
        perplexity=_perplexity(-metrics["log_likelihood"] * min(len(codes), _BOUND_ROWS), codes[:_BOUND_ROWS]),
        active=f"{metrics['active_latents']:.0f} of {latents}",
        information=metrics["mutual_information"],
    )


def _printed(figures: Figures) -> Figures:
    print(figures, flush=True)
    return figures


def _perplexity(nats: float, codes: NDArray[np.integer]) -> float:
    return float(np.exp(nats / count_tokens(codes)))


def _shifts() -> Iterator[str]:
    """Yield a table of how many held-out log lines have the wanted words after a shift along each attribute."""
    held = log_lines().held
    shares = {name: arithmetic(model, with_load=with_load) for name, (model, with_load) in _SHIFTED.items()}
    rows = []
    for lacked, wanted in _ATTRIBUTES:
        of_models = (f"{rebuilt:.2f}, {moved:.2f}" for rebuilt, moved in (of[wanted] for of in shares.values()))
        rows.append((lacked, wanted, str(sum(lacked in text for text in held)), *of_models))
    yield from table(("from", "to", "lines", *(f"{name}: rebuilt, shifted" for name in shares)), rows)


def arithmetic(model: str, *, with_load: bool) -> dict[str, tuple[float, float]]:
    """Return by wanted words the shares of held-out log lines that have them when rebuilt, and when shifted to them.

    Args:
        model: name of the model.
        with_load: whether the table also has a number that has nothing to do with the lines.
    """
    texts = log_lines()
    network, parts, _ = trained("log lines", model, with_load=with_load)
    known, begun = _latents(network, parts.learned), _latents(network, parts.held)
    found = {}
    for lacked, wanted in _ATTRIBUTES:
        having, lacking = ([at for at, text in enumerate(texts.learned) if word in text] for word in (wanted, lacked))
        vector = known[having].mean(0) - known[lacking].mean(0)
        z = begun[[at for at, text in enumerate(texts.held) if lacked in text]]
        drawn = (_likeliest(parts.encoding, network, each) for each in (z, z + vector))
        shares = [float(np.mean([wanted in text for text in each])) for each in drawn]
        found[wanted] = shares[0], shares[1]
    return found


@functools.cache
def trained(name: str, model: str, *, with_load: bool = False) -> Trained:
    """Train a model on a set, once."""
    parts = _encoded(SETS[name](), with_load=with_load)
    began = time.process_time()
    network = families.build(parts.encoding.layout, Section.model_validate(MODELS[model]), 0)
    dev = {name: rows[: len(rows) // 4] for name, rows in parts.held.items()}
    fit(network, parts.learned, dev, Train())
    return Trained(network.eval(), parts, time.process_time() - began)


@torch.no_grad()
def _latents(network: Model, arrays: Arrays) -> torch.Tensor:
    row = network.preprocessing({name: torch.from_numpy(array) for name, array in arrays.items()})
    return network.posterior(row).mean


@torch.no_grad()
def _likeliest(encoding: Encoding, network: Model, z: torch.Tensor) -> list[str]:
    expected = network.likelihood.expected(network.decode(z, z[:, :0]))
    names = ("num", "cat") if encoding.layout.numbers else ("cat",)
    arrays = {name: each.numpy() for name, each in zip(names, expected, strict=True)}
    arrays["cat"] = arrays["cat"].astype(np.int32)
    texts: list[str] = encoding.decode(arrays).column("message").to_pylist()
    return texts


def _encoded(texts: Texts, *, with_load: bool = False) -> Parts:
    column = {"message": {"kind": "text", "length": _LENGTH + 1}}
    job = parse_job({"name": "tokens", "data": {"path": "rows"}, "columns": column}, source=Path("/job.toml"))
    learned, held = (pa.table({"message": part}) for part in texts)
    if with_load:
        rng = np.random.default_rng(0)
        learned, held = (each.append_column("load", pa.array(rng.normal(size=len(each)))) for each in (learned, held))
    encoding = fit_encoding(infer(learned.schema, job, learned), learned.to_batches())
    return Parts(encoding, *(encoding.encode_table(part, rows=4_096).arrays for part in (learned, held)))


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


def _section(names: Sequence[str], found: Sequence[Figures]) -> Iterator[str]:
    yield "## Sequences of tokens"
    yield ""
    sets = ((name, SETS[name]()) for name in names)
    sizes = "; ".join(
        f"{name}: {len(each.learned):,} to learn from, {len(each.held):,} held out" for name, each in sets
    )
    yield (
        f"Made by `python -m benchmarks.tokens`, {datetime.now(UTC).date()}, {machine()}, one thread. Families with "
        f"their defaults, texts of up to {_LENGTH} words ({sizes}). Log lines are generated, long ones join three. "
        "Options were chosen on lines of other forms. Perplexity per token of held-out texts: of `vae` by "
        "its bound of 64 draws; autoencoders have none, as they see the text; the recurrent model has the size of "
        "`vae` and no latents, and is stopped early. Active latents: the mean varies between rows; information: "
        "mutual information of held-out texts and latents, at most 6.9 nats. Right: tokens at the same position, and "
        "whole texts, of the likeliest text given the latents. Differing: share of 512 texts with a token "
        "other than torch's, the greatest over the exported graphs. Tokens per second are drawn by the exported graph "
        "on one core. The last table: held-out log lines with the words `from`; the share whose reconstruction has the "
        "words `to`, and the share after the attribute was added to the latents; `load` is a number that has nothing "
        "to do with the lines."
    )
    yield ""
    header = (
        "set", "model", "perplexity", "active latents", "information, nats", "tokens, texts right", "differing",
        "tokens per s", "CPU seconds",
    )  # fmt: skip
    rows = [
        (
            each.name,
            each.model,
            _or_none(each.perplexity, ".2f"),
            each.active,
            _or_none(each.information, ".1f"),
            ", ".join(filter(None, (_or_none(share, ".2f") for share in each.right))),
            _or_none(each.differing, ".3f"),
            _or_none(each.tokens_per_s, ",.0f"),
            _or_none(each.cpu_s, ".0f"),
        )
        for each in found
    ]
    yield from table(header, rows)


def _or_none(value: float, form: str) -> str:
    return "" if np.isnan(value) else format(value, form)


if __name__ == "__main__":
    main()
