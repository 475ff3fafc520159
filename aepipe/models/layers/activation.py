"""Nonlinearities of a backbone, by name."""

from typing import Literal

from torch import nn

Activation = Literal["relu", "elu", "silu", "tanh"]


def make_activation(name: Activation) -> nn.Module:
    """Make a module of the named activation."""
    kinds: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "elu": nn.ELU, "silu": nn.SiLU, "tanh": nn.Tanh}
    return kinds[name]()
