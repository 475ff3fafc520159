"""Python interface: models and data frames in memory."""

from aepipe.api.model import Model, load

__all__ = ["Model", "load"]
