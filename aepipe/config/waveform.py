"""Settings of a column of waveforms."""

from typing import Literal

from pydantic import Field

from aepipe.frozen import FrozenModel


class Waveform(FrozenModel):
    """Features of a waveform: the power of frequency bands, in decibels."""

    rate: float = Field(1.0, gt=0, description="samples per second; 1: frequencies are cycles per sample")
    window: int = Field(256, ge=8, le=65_536, description="samples per Fourier transform; windows overlap by half")
    bands: int = Field(32, ge=1, le=1_024, description="frequency bands, from 0 to half the rate")
    scale: Literal["linear", "mel"] = Field(
        "linear", description="linear: bands of equal width, for machines; mel: narrow at low frequencies, for sound"
    )
    frames: int = Field(
        1, ge=1, le=1_024, description="parts of equal length with bands of their own; 1: the mean over the waveform"
    )
