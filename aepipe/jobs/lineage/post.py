"""Delivery of lineage over HTTP."""

import json
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from urllib.parse import urlsplit

from aepipe.errors import describe_failure
from aepipe.jobs.lineage.events import Event

log = logging.getLogger(__name__)

TIMEOUT_S = 5.0
ENDPOINT = "api/v1/lineage"


def post_all(url: str, events: Sequence[Event]) -> None:
    """Post events until one is refused."""
    for event in events:
        try:
            _post(url, event)
        except urllib.error.HTTPError as error:
            log.warning("lineage is not delivered: OPENLINEAGE_URL answered %d %s", error.code, error.reason)
            return
        except (OSError, ValueError, HTTPException) as error:
            log.warning("lineage is not delivered to OPENLINEAGE_URL: %s", describe_failure(error))
            return


def _post(url: str, event: Event) -> None:
    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError("expected an address that starts with http:// or https://")
    endpoint = os.environ.get("OPENLINEAGE_ENDPOINT", ENDPOINT)
    headers = {"Content-Type": "application/json"}
    key = os.environ.get("OPENLINEAGE_API_KEY")
    if key:
        headers["Authorization"] = f"Bearer {key}"
    address = f"{url.rstrip('/')}/{endpoint.lstrip('/')}"
    data = json.dumps(event).encode()
    request = urllib.request.Request(address, data=data, headers=headers, method="POST")  # noqa: S310  http or https
    with urllib.request.urlopen(request, timeout=TIMEOUT_S):  # noqa: S310
        pass
