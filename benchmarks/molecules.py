"""Sample molecules as SMILES: validity, uniqueness and novelty, against n-grams of atoms; writes docs/benchmarks.md.

The molecules are the first 5,000 of the NCI open database, which the package rdkit contains.

python -m benchmarks.molecules            # pip install rdkit
python -m benchmarks.molecules --dev --no-page
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

import aepipe
from aepipe.encoding.tokens import pieces_of
from benchmarks.page import put_into, table
from benchmarks.store import machine

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
MOST_TOKENS = 24
_DRAWN = 1_000
_END = ""
_MODEL = {"latent": 32, "free_bits": 0.1}
_CHOICES: tuple[dict[str, Any], ...] = (
    {},
    {"temperature": 0.7},
    {"top_p": 0.9},
    {"temperature": 0.5, "top_p": 0.9},
)


class Look(NamedTuple):
    """Share of valid samples, of distinct ones among these, and of new ones among these; and how heavy they are."""

    valid: float
    unique: float
    novel: float
    weight: float
    """Wasserstein distance of the molecular weights of valid samples to held-out molecules, in daltons"""


class NGrams:
    """Markov chain of atoms and bonds; a context that training never had is shortened from the left."""

    def __init__(self, texts: Iterable[Sequence[str]], order: int) -> None:
        self._order = order
        self._after: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        for pieces in texts:
            padded = [*[_END] * (order - 1), *pieces, _END]
            for at in range(order - 1, len(padded)):
                for length in range(order):
                    self._after[tuple(padded[at - length : at])][padded[at]] += 1

    def draw(self, rng: np.random.Generator) -> str:
        """Draw a text of at most 200 pieces."""
        pieces = [_END] * (self._order - 1)
        while len(pieces) < 200:
            found = self._following(pieces)
            names, counts = list(found), np.array(list(found.values()), np.float64)
            piece = names[int(rng.choice(len(names), p=counts / counts.sum()))]
            if piece == _END:
                break
            pieces.append(piece)
        return "".join(pieces)  # the start is empty text

    def _following(self, pieces: list[str]) -> Counter[str]:
        for length in range(self._order - 1, -1, -1):
            context = tuple(pieces[len(pieces) - length :])
            if context in self._after:
                return self._after[context]
        raise AssertionError("the empty context is known")


def main() -> None:
    """Train the VAE, draw from it and from n-grams, print the table and write it into the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.molecules", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--dev", action="store_true", help="compare with dev molecules, to choose options by")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--no-page", action="store_true", help="print the table only")
    asked = parser.parse_args()

    learned, dev, held = molecules()
    held_out = dev if asked.dev else held
    began = time.process_time()
    column = {"kind": "text", "tokens": "smiles", "length": MOST_TOKENS + 1}
    model = aepipe.fit(
        pa.table({"smiles": learned}),
        columns={"smiles": column},
        model=_MODEL,
        train={"epochs": asked.epochs},
        samples={"quality": {"check": False}},
    )
    spent = time.process_time() - began
    rows = [_line("vae", {}, _look(held_out, learned, held_out), spent=None, name="held-out molecules")]
    for order in (3, 6):
        began = time.process_time()
        grams, rng = NGrams(pieces_of(learned, "smiles"), order), np.random.default_rng(0)
        drawn = [grams.draw(rng) for _ in range(_DRAWN)]
        look = _look(drawn, learned, held_out)
        rows.append(_line("", {}, look, spent=time.process_time() - began, name=f"{order}-grams of atoms"))
    speed = 0.0
    for choice in _CHOICES:
        began = time.process_time()
        drawn = model.sample(_DRAWN, seed=1, format="arrow", **choice)["smiles"].to_pylist()
        tokens = sum(len(pieces) + 1 for pieces in pieces_of(drawn, "smiles"))
        speed = max(speed, tokens / (time.process_time() - began))
        rows.append(_line("vae", choice, _look(drawn, learned, held_out), spent=spent))
    back = model.reconstruct(pa.table({"smiles": held_out}))["smiles"].to_pylist()
    exact = float(np.mean([one == other for one, other in zip(held_out, back, strict=True)]))
    text = "\n".join(_section(rows, len(learned), len(held_out), exact, speed))
    print(text)
    if not asked.no_page:
        put_into(PAGE, text + "\n", name="molecules")


def molecules() -> tuple[list[str], list[str], list[str]]:
    """Return molecules of at most 24 tokens: to learn from, to choose options by, and to compare with."""
    from rdkit import RDConfig

    lines = Path(RDConfig.RDDataDir, "NCI", "first_5K.smi").read_text().splitlines()
    known = dict.fromkeys(line.split()[0] for line in lines)
    found = zip(known, pieces_of(list(known), "smiles"), strict=True)
    short = [text for text, pieces in found if len(pieces) <= MOST_TOKENS]
    order = np.random.default_rng(0).permutation(len(short))
    mixed = [short[at] for at in order]
    tenth = len(mixed) // 10
    return mixed[2 * tenth :], mixed[:tenth], mixed[tenth : 2 * tenth]


def _look(drawn: Sequence[str], learned: Sequence[str], held_out: Sequence[str]) -> Look:
    from rdkit import RDLogger
    from rdkit.Chem import Descriptors, MolFromSmiles, MolToSmiles
    from scipy.stats import wasserstein_distance

    RDLogger.DisableLog("rdApp.*")
    parsed = [each for each in map(MolFromSmiles, drawn) if each is not None and each.GetNumAtoms()]
    names = {MolToSmiles(each) for each in parsed}
    known = {MolToSmiles(each) for each in map(MolFromSmiles, learned) if each is not None}
    weights = [Descriptors.MolWt(each) for each in parsed]
    real = [Descriptors.MolWt(each) for each in map(MolFromSmiles, held_out) if each is not None]
    return Look(
        len(parsed) / len(drawn),
        len(names) / max(1, len(parsed)),
        len(names - known) / max(1, len(names)),
        float(wasserstein_distance(weights, real)),
    )


def _line(family: str, choice: dict[str, Any], look: Look, *, spent: float | None, name: str = "") -> tuple[str, ...]:
    how = ", ".join(f"{key} {value}" for key, value in choice.items())
    title = name or (f"{family}, {how}" if how else family)
    kept = look.valid * look.unique * look.novel
    figures = (f"{each:.2f}" for each in (look.valid, look.unique, look.novel, kept))
    return (title, *figures, f"{look.weight:.0f}", "" if spent is None else f"{spent:.0f}")


def _section(rows: list[tuple[str, ...]], learned: int, held_out: int, exact: float, speed: float) -> Iterator[str]:
    options = ", ".join(f"{key} = {value}" for key, value in _MODEL.items())
    yield "## Molecules"
    yield ""
    yield (
        f"Made by `python -m benchmarks.molecules`, {datetime.now(UTC).date()}, {machine()}, one thread. {learned:,} "
        f"molecules of at most {MOST_TOKENS} atoms, bonds and brackets, of the first 5,000 of the NCI database, to "
        f"learn from (`{options}`); {held_out} held out. Of {_DRAWN:,} samples: the share that rdkit reads, the "
        "share of different ones among these, the share among the different ones that training did not have, and the "
        "product of the three; the Wasserstein distance of the molecular weights to held-out ones, in daltons; "
        f"CPU seconds to train and export. The VAE reconstructs {exact:.0%} of the held-out ones exactly, and draws "
        f"{speed:,.0f} tokens per CPU second."
    )
    yield ""
    header = ("model", "valid", "unique", "novel", "valid, unique and novel", "weight", "CPU seconds")
    yield from table(header, rows)


if __name__ == "__main__":
    main()
