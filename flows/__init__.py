"""Thin Prefect flows over aepipe.jobs, and the Prefect settings they need.

Prefect reads its settings when it is imported. Flow files import Prefect through `flows.prefect_api`, so this module
runs first. Settings of a shell, a worker or a profile take precedence.
"""

import os

_SETTINGS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",  # without a server address, a flow starts its own
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # the first start creates a database: 17 s on 2 cores
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL": "CRITICAL",  # the flow reports the error again, in one sentence
}
for _name, _value in _SETTINGS.items():
    os.environ.setdefault(_name, _value)
