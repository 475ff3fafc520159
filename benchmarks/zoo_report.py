"""Render the tables of the zoo as Markdown from stored results."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.page import origin
from benchmarks.store import Result
from benchmarks.zoo_figures import AGAINST_PEERS, FIGURES, SECOND_FIGURES, Figure, Numbers, Reached, reached
from benchmarks.zoo_models import CPU_LIMIT_S
from benchmarks.zoo_world import Scale

_NOT_RUN = "not measured"


def section(results: Sequence[Result], scale: Scale) -> str:
    """Return all tables of these results."""
    numbers: dict[str, dict[int, dict[str, float]]] = {}
    for result in results:
        numbers.setdefault(result.experiment, {})[result.seed] = dict(result.values)
    lines = [
        "## The zoo of families",
        "",
        *_origin(results, scale),
        "",
        *_table("aepipe", FIGURES, numbers),
        "",
        "Against pythae, with the same networks, rows, batches and at most the same epochs, by its own trainers:",
        "",
        *_peer_table(numbers),
        "",
        "What training took, and how far features of the exported encoder differ when rows are encoded again or in "
        "batches of 1, 7 and 512, in units of what is allowed (1e-6 + 1e-5 of the feature):",
        "",
        *_training_table(numbers),
    ]
    return "\n".join(lines) + "\n"


def second_section(results: Sequence[Result], scale: Scale) -> str:
    """Return the tables of families and options that were added later."""
    numbers: dict[str, dict[int, dict[str, float]]] = {}
    for result in results:
        numbers.setdefault(result.experiment, {})[result.seed] = dict(result.values)
    lines = [
        "### Families and options added later",
        "",
        f"Made by `python -m benchmarks.zoo --small` with the networks above on {scale.train_rows:,} training rows and "
        f"{scale.epochs:.0%} of the epochs, one seed. Compare these figures with each other, not with the table above.",
        "",
        origin(results),
        "",
        *_table("aepipe", [figure for figure in SECOND_FIGURES if reached(figure, numbers) is not None], numbers),
        "",
        "Training:",
        "",
        *_training_table(numbers),
    ]
    return "\n".join(lines) + "\n"


def _origin(results: Sequence[Result], scale: Scale) -> Iterator[str]:
    quick = ", a quick run: not what the models can do" if scale.name == "quick" else ""
    yield (
        f"Made by `python -m benchmarks.zoo` on Fashion-MNIST, {scale.train_rows:,} training rows, "
        f"{scale.held_out_rows:,} held out{quick}. Networks are 784-512-256 with 16 latents where nothing else is "
        f"said. Mean ± standard deviation over seeds, their number in brackets."
    )
    yield ""
    yield origin(results)


def _table(whose: str, figures: Sequence[Figure], numbers: Numbers) -> Iterator[str]:
    yield f"| measure | goal | {whose} | against | ratio | met |"
    yield "|---|---|---|---|---|---|"
    for figure in figures:
        found = reached(figure, numbers)
        if found is None:
            yield f"| {figure.label} | {_goal(figure)} | {_NOT_RUN} | | | |"
        else:
            yield (
                f"| {figure.label} | {_goal(figure)} | {_spread(found.own)} | {_spread(found.other)} | "
                f"{_standing(figure, found)} | {_verdict(figure, found)} |"
            )


def _peer_table(numbers: Numbers) -> Iterator[str]:
    lines = _table("aepipe", AGAINST_PEERS, numbers)
    yield next(lines).replace("against", "pythae")
    yield from lines


def _training_table(numbers: Numbers) -> Iterator[str]:
    yield f"| experiment | CPU s (limit {CPU_LIMIT_S:.0f}) | epochs | MSE | features differ by |"
    yield "|---|---|---|---|---|"
    for name in numbers:
        runs = numbers[name].values()
        cells = [
            _spread([run[key] for run in runs if key in run])
            for key in ("cpu_s", "epochs", "mse", "feature_difference")
        ]
        if cells[0]:
            yield f"| {name} | {' | '.join(cells)} |"


def _goal(figure: Figure) -> str:
    bounds = [f"at least {_number(figure.low)}"] if figure.low is not None else []
    bounds += [f"at most {_number(figure.high)}"] if figure.high is not None else []
    times = " x" if figure.how == "ratio" and bounds else ""
    return ", ".join(bounds) + times


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    if len(values) == 1:
        return _number(values[0])
    return f"{_number(float(np.mean(values)))} ± {_number(float(np.std(values, ddof=1)))} ({len(values)})"


def _standing(figure: Figure, found: Reached) -> str:
    return "" if figure.how == "value" else _number(found.compared)


def _verdict(figure: Figure, found: Reached) -> str:
    met = found.is_met(figure)
    return "" if met is None else "yes" if met else "**no**"


def _number(value: float) -> str:
    """Format with three digits, or all digits before the point if there are more.

    >>> _number(0.014203), _number(251.87), _number(298123.0), _number(0.0)
    ('0.0142', '251.9', '298,123', '0')
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:.0f}"
    if abs(value) >= 1_000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.1f}"
    return f"{value:.3g}"
