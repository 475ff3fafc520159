"""Registry of heads: every module of this folder that defines `HEAD`."""

import importlib
import pkgutil
from functools import cache
from typing import Literal

from aepipe.config.job import LABELLED, Job
from aepipe.errors import OptionInvalid, did_you_mean
from aepipe.heads.base import HeadSpec


def names() -> tuple[str, ...]:
    """List the names of all heads.

    >>> {"reconstruction", "elbo", "knn", "mahalanobis"} <= set(names())
    True
    """
    return tuple(_heads())


def find(name: str) -> HeadSpec:
    """Return the head with this name.

    Raises:
        OptionInvalid: If there is none; the message suggests the closest name.
    """
    if name in _heads():
        return _heads()[name]
    raise OptionInvalid(f"[score] head: there is no head '{name}'{did_you_mean(name, names(), listed=30)}")


CHOSEN = frozenset({"auto", LABELLED})
"""Values of `[score] head` that let labels choose the head."""


def resolve(
    name: str, data: Literal["clean", "polluted"], *, has_texts: bool = False, has_conditions: bool = False
) -> str:
    """Resolve `[score] head` to the name of a head; `auto` and `labelled` depend on the training data.

    On 21 tables knn_with_quantiles scored best after clean training, consensus after polluted training; no head won
    both. Two of the three views of knn_with_quantiles do not know the conditions of a row, so models with conditions
    have knn_with_row. All dilute the losses of tokens, so rows with texts have others: on generated log lines,
    mahalanobis found 71 % of the novel templates at a p-value of .01, and knn_with_row none.

    >>> resolve("auto", "polluted")
    'consensus'
    """
    if name in CHOSEN and has_texts:
        return "mahalanobis" if data == "clean" else "elbo"
    if name in CHOSEN:
        of_clean = "knn_with_row" if has_conditions else "knn_with_quantiles"
        return of_clean if data == "clean" else "consensus"
    return find(name).name


def resolve_for(job: Job) -> str:
    """Resolve the head of a job, as `resolve` does, by its training data and the kinds of its columns."""
    return resolve(job.score.head, job.train.data, has_texts=job.has_texts, has_conditions=job.has_conditions)


@cache
def _heads() -> dict[str, HeadSpec]:
    modules = (importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__))
    return {module.HEAD.name: module.HEAD for module in modules if hasattr(module, "HEAD")}
