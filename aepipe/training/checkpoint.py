"""Checkpoint file of a training run: written atomically, read without running pickled code."""

import io
import logging
import pickle
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from aepipe.storage import put_bytes
from aepipe.stores import StorePath

log = logging.getLogger(__name__)


class Checkpointer:
    """Checkpoint file, rate-limited to one write per `every_s` seconds and identified by a key."""

    def __init__(self, path: Path, key: str, every_s: float) -> None:
        self.path = path
        self.key = key
        self.every_s = every_s
        self.written = time.monotonic()

    def keep(self, content: Callable[[], Mapping[str, object]]) -> None:
        """Write a checkpoint if the last one is old enough.

        Args:
            content: Function that returns tensors, numbers, text, and lists and dictionaries of them.
        """
        if time.monotonic() - self.written < self.every_s:
            return
        buffer = io.BytesIO()
        torch.save({"key": self.key, **content()}, buffer)
        put_bytes(self.path, buffer.getvalue())
        self.written = time.monotonic()

    def find(self, device: torch.device) -> dict[str, Any] | None:
        """Return the checkpoint with this key; log a warning and return None if it is unreadable or has another key."""
        if not self.path.exists():
            return None
        try:
            source = io.BytesIO(self.path.read_bytes()) if isinstance(self.path, StorePath) else self.path
            found = torch.load(source, map_location=device, weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
            log.warning("%s cannot be read (%s): training starts from scratch", self.path, type(error).__name__)
            return None
        if not isinstance(found, dict) or found.get("key") != self.key:
            log.warning("%s belongs to another training run: training starts from scratch", self.path)
            return None
        return dict(found)
