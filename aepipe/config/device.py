"""Where graphs may run. The command line names it without loading what jobs are read with."""

from typing import Literal

Device = Literal["auto", "cuda", "cpu"]
