"""Names of Prefect that the flows use: the only module that imports it.

Prefect reads its settings when it is imported. Imported from here, it always comes after `flows` has set them, also
when a flow is run as a script. Without Prefect a script ends with one sentence.
"""

import sys

from aepipe.errors import ExtraMissing
from aepipe.versions import named_extras

try:
    with named_extras():
        from prefect import Flow, Task, flow, get_run_logger, task
        from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
        from prefect.automations import AutomationCore, ChangeFlowRunState, EventTrigger, Posture
        from prefect.cache_policies import NO_CACHE
        from prefect.client.orchestration import SyncPrefectClient, get_client
        from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
        from prefect.client.schemas.objects import (
            ConcurrencyLimitConfig,
            ConcurrencyLimitStrategy,
            FlowRun,
            State,
            StateType,
            TaskRun,
        )
        from prefect.client.schemas.schedules import CronSchedule
        from prefect.context import FlowRunContext
        from prefect.deployments import run_deployment
        from prefect.events import emit_event
        from prefect.exceptions import ObjectNotFound, TerminationSignal
        from prefect.settings import PREFECT_API_URL
        from prefect.states import Failed
        from prefect.utilities.callables import parameter_schema
        from pydantic_settings import CliApp
except ExtraMissing as error:
    # a script imports its modules before it can handle an error
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)

__all__ = [
    "NO_CACHE",
    "PREFECT_API_URL",
    "AutomationCore",
    "ChangeFlowRunState",
    "CliApp",
    "ConcurrencyLimitConfig",
    "ConcurrencyLimitStrategy",
    "CronSchedule",
    "DeploymentScheduleCreate",
    "EventTrigger",
    "Failed",
    "Flow",
    "FlowRun",
    "FlowRunContext",
    "ObjectNotFound",
    "Posture",
    "State",
    "StateType",
    "SyncPrefectClient",
    "Task",
    "TaskRun",
    "TerminationSignal",
    "WorkPoolCreate",
    "create_link_artifact",
    "create_markdown_artifact",
    "create_table_artifact",
    "emit_event",
    "flow",
    "get_client",
    "get_run_logger",
    "parameter_schema",
    "run_deployment",
    "task",
]
