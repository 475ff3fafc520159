"""Prefect and nothing but Prefect: thin flows over aepipe.jobs, and the settings they need of it.

Prefect reads its settings when it is imported: a flow's file takes what it needs of Prefect from `flows.engine`, and so
comes through here first. What a shell, a worker or a profile has set wins.
"""

import os

_SETTINGS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",  # without an address of a server, a flow starts its own
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # the first start makes a database: 17 s on 2 cores
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL": "CRITICAL",  # the flow says it once more, and better
}
for _name, _value in _SETTINGS.items():
    os.environ.setdefault(_name, _value)
