"""Python interface: models and data frames in memory."""

from aepipe.api.model import Model, load
from aepipe.api.training import fit

__all__ = ["Model", "fit", "load"]
