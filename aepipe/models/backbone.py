"""What a trunk is: the networks that fit a layout. The folder `aepipe/models/backbones` is the registry."""

import importlib
import pkgutil
from collections.abc import Callable
from typing import NamedTuple

from pydantic import BaseModel
from torch import nn

from aepipe.layout import Layout
from aepipe.models import backbones as trunks
from aepipe.models.layers.likelihood import Likelihood
from aepipe.models.layers.preprocessing import Row


class GridNets(NamedTuple):
    """Networks between rows and a grid of vectors, (B, height * width, D), row by row."""

    encoder: nn.Module
    """Row -> (B, P, D)"""
    decoder: nn.Module
    """(B, P, D) -> (B, likelihood.width)"""
    height: int
    width: int


def no_start(encoder: nn.Module, decoder: nn.Module, likelihood: Likelihood, rows: Row, wanted: Row) -> None:
    """What a trunk without a closed form does: the random weights are the start."""


class Backbone(NamedTuple):
    """A file of aepipe/models/backbones: its options, the layouts it takes, and how its networks are made."""

    name: str
    summary: str
    options: type[BaseModel]
    kinds: tuple[str, ...]
    """of `Layout.kind`; the first one is what the trunk is best at"""
    encoder: Callable[[Layout, BaseModel, int], nn.Module]
    """(layout, options, outputs) -> module: Row -> (B, outputs)"""
    decoder: Callable[[Layout, BaseModel, int, Likelihood], nn.Module]
    """(layout, options, inputs, likelihood) -> module: (B, inputs) -> (B, likelihood.width)"""
    learning_rate: Callable[[Layout], float]
    """of AdamW, that suits a layout"""
    start: Callable[[nn.Module, nn.Module, Likelihood, Row, Row], None] = no_start
    """(encoder, decoder, likelihood, training rows, what is rebuilt of them): begin these two where closed forms say"""
    grid: Callable[[Layout, BaseModel, int, Likelihood], GridNets] | None = None
    """(layout, options, D, likelihood): networks that keep where things are; none where a trunk knows no places"""


def names() -> tuple[str, ...]:
    """The trunks there are, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(trunks.__path__)))


def find(name: str) -> Backbone:
    """The trunk of that name, one of `names()`."""
    trunk: Backbone = importlib.import_module(f"{trunks.__name__}.{name}").BACKBONE
    return trunk


def best_for(kind: str) -> str:
    """The trunk that a layout of this kind gets where the job names none."""
    return next(name for name in names() if find(name).kinds[0] == kind)
