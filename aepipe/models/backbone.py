"""Backbones: the encoder and decoder networks for a layout. The folder `aepipe/models/backbones` is the registry."""

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pydantic import BaseModel
from torch import nn

from aepipe.layout import Layout
from aepipe.models import backbones
from aepipe.models.layers.likelihood import Likelihood
from aepipe.models.layers.preprocessing import Row


class GridNets(NamedTuple):
    """Encoder and decoder between rows and a grid of vectors, (B, height * width, D), ordered row by row."""

    encoder: nn.Module
    """Row -> (B, P, D)"""
    decoder: nn.Module
    """(B, P, D) -> (B, likelihood.width)"""
    height: int
    width: int


def no_start(encoder: nn.Module, decoder: nn.Module, likelihood: Likelihood, rows: Row, wanted: Row) -> None:
    """Keep the random weights, for a backbone without a closed-form initialisation."""


def no_output_layer(decoder: nn.Module) -> tuple[nn.Parameter, ...]:
    """Name no output layer, for a backbone whose layers all learn at one rate."""
    return ()


def no_faults(layout: Layout, options: BaseModel) -> Sequence[str]:
    """Report no faults, for a family or backbone whose options fit every layout."""
    return ()


class AveragedTraining(NamedTuple):
    """Defaults of families that average their weights, where other families have different ones."""

    rate: float = 1.0
    """factor of the learning rate"""
    cpu_batch_rows: int | None = None
    """batch size on a CPU; None for the one of all devices"""
    patience_share: float = 1.0
    """share of the job's patience after which training stops"""


def trained_alike(layout: Layout) -> AveragedTraining:
    """Return no differences, for a backbone that is trained alike in all families."""
    return AveragedTraining()


class Backbone(NamedTuple):
    """Entry of a backbone in the registry: its options, the layouts it takes, and the builders of its networks."""

    name: str
    summary: str
    options: type[BaseModel]
    kinds: tuple[str, ...]
    """supported values of `Layout.kind`; the first backbone with a kind at the lowest place is its default"""
    encoder: Callable[[Layout, BaseModel, int], nn.Module]
    """(layout, options, outputs) -> module: Row -> (B, outputs)"""
    decoder: Callable[[Layout, BaseModel, int, Likelihood], nn.Module]
    """(layout, options, inputs, likelihood) -> module: (B, inputs) -> (B, likelihood.width)"""
    learning_rate: Callable[[Layout], float]
    """default learning rate of AdamW for a layout"""
    start: Callable[[nn.Module, nn.Module, Likelihood, Row, Row], None] = no_start
    """(encoder, decoder, likelihood, training rows, their targets): initialise both networks in closed form"""
    output_layer: Callable[[nn.Module], tuple[nn.Parameter, ...]] = no_output_layer
    """decoder -> parameters of its last layer, which learn faster where a table is large"""
    grid: Callable[[Layout, BaseModel, int, Likelihood], GridNets] | None = None
    """(layout, options, D, likelihood): networks that keep spatial positions; None if the backbone has none"""
    faults: Callable[[Layout, BaseModel], Sequence[str]] = no_faults
    """(layout, options): one sentence per option that does not fit the layout"""
    advice: str = ""
    """when to prefer it and when not, for its documentation"""
    averaged: Callable[[Layout], AveragedTraining] = trained_alike
    """defaults of families that average their weights"""


def names() -> tuple[str, ...]:
    """Return the sorted names of all backbones."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(backbones.__path__)))


def find(name: str) -> Backbone:
    """Return the backbone of a name, one of `names()`."""
    backbone: Backbone = importlib.import_module(f"{backbones.__name__}.{name}").BACKBONE
    return backbone


def best_for(kind: str) -> str:
    """Return the default backbone for layouts of this kind: the first that has it first, else the first that has it."""
    able = [name for name in names() if kind in find(name).kinds]
    return min(able, key=lambda name: find(name).kinds.index(kind))
