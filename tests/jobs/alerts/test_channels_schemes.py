"""Addresses of webhooks."""

from types import SimpleNamespace
from typing import Any

import pytest

from aepipe.errors import DeliveryFailed
from aepipe.jobs.alerts.channels import post


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://example.org/x", "hooks.example.org"])
def test_a_webhook_that_is_not_a_web_address_is_refused(address: str) -> None:
    message: Any = SimpleNamespace()

    with pytest.raises(DeliveryFailed, match="expected http:// or https://"):
        post(address, message, timeout_s=1)
