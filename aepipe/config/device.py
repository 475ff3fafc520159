"""Device names. A module of its own so that the command line need not load pydantic."""

from typing import Literal

Device = Literal["auto", "cuda", "cpu"]
