"""Channels of alerts: webhook, mail, and the services of apprise. Only the standard library and apprise."""

import json
import os
import smtplib
import ssl
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Mapping
from email.message import EmailMessage
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aepipe.config.alerts import Alerts, Email
from aepipe.errors import AepipeError, DeliveryFailed, OptionInvalid, describe_failure
from aepipe.jobs.alerts.message import AlertMessage
from aepipe.versions import named_extras

if TYPE_CHECKING:
    from apprise import Apprise

Channel = Callable[[AlertMessage], None]


def channels_of(settings: Alerts) -> Mapping[str, Channel]:
    """Return the channels of a job by name; each delivers a message or raises DeliveryFailed or OptionInvalid."""
    found: dict[str, Channel] = {}
    if settings.webhook is not None:
        found["webhook"] = partial(post, settings.webhook, timeout_s=settings.timeout_s)
    if settings.email is not None:
        found["email"] = partial(mail, settings.email, timeout_s=settings.timeout_s)
    for index, url in enumerate(settings.services):
        found[f"service {index + 1}"] = partial(notify, url)
    return found


def channel_faults(settings: Alerts) -> dict[str, str]:
    """Return what is wrong with the addresses of the channels of a job, by name, without sending anything."""
    checks: dict[str, Callable[[], object]] = {}
    if settings.webhook is not None:
        checks["webhook"] = partial(_webhook_address, settings.webhook)
    if settings.email is not None:
        checks["email"] = partial(_credentials, settings.email)
    checks |= {f"service {index + 1}": partial(_service, url) for index, url in enumerate(settings.services)}
    found = {}
    for name, check in checks.items():
        try:
            check()
        except AepipeError as error:
            found[name] = str(error)
    return found


def post(url: str, message: AlertMessage, *, timeout_s: float) -> None:
    """Post a message as JSON; `text` holds it as plain text, which Slack and Teams webhooks show."""
    address = _webhook_address(url)
    body = message.model_dump(mode="json") | {"subject": message.subject, "text": message.text}
    request = urllib.request.Request(  # noqa: S310  http or https
        address, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout_s):  # noqa: S310
            pass
    except urllib.error.HTTPError as error:
        raise DeliveryFailed(f"the webhook answered {error.code} {error.reason}. Check [alerts] webhook.") from None
    except (OSError, ValueError) as error:
        reason = describe_failure(error)
        raise DeliveryFailed(f"the webhook cannot be reached: {reason}. Check [alerts] webhook.") from None


def _webhook_address(url: str) -> str:
    address = expand(url)
    if urlsplit(address).scheme not in ("http", "https"):
        raise DeliveryFailed("the webhook is not an address: expected http:// or https://. Check [alerts] webhook.")
    return address


def mail(settings: Email, message: AlertMessage, *, timeout_s: float) -> None:
    """Send a message as plain text."""
    email = EmailMessage()
    email["Subject"] = " ".join(message.subject.splitlines())
    email["From"], email["To"] = settings.sender, ", ".join(settings.to)
    email.set_content(message.text)
    credentials = _credentials(settings)
    try:
        with _connect(settings, timeout_s) as server:
            if credentials is not None:
                server.login(*credentials)
            server.send_message(email)
    except (OSError, smtplib.SMTPException) as error:
        raise DeliveryFailed(
            f"mail to {settings.host}:{settings.port} failed: {describe_failure(error)}. Check [alerts.email]."
        ) from None


def _credentials(settings: Email) -> tuple[str, str] | None:
    return None if settings.user is None else (expand(settings.user), expand(settings.password or ""))


def _connect(settings: Email, timeout_s: float) -> smtplib.SMTP:
    if settings.security == "tls":
        context = ssl.create_default_context()
        return smtplib.SMTP_SSL(settings.host, settings.port, timeout=timeout_s, context=context)
    server = smtplib.SMTP(settings.host, settings.port, timeout=timeout_s)
    if settings.security == "starttls":
        server.starttls(context=ssl.create_default_context())
    return server


def notify(url: str, message: AlertMessage) -> None:
    """Send a message through a service of apprise, such as Slack or Teams."""
    service = _service(url)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # apprise imports imghdr where Python still has it
        if not service.notify(body=message.text, title=message.subject):
            raise DeliveryFailed(f"the service {url.partition(':')[0]} refused the message. Check [alerts] services.")


def _service(url: str) -> "Apprise":
    with named_extras("[alerts] services"), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from apprise import Apprise

        service = Apprise()
        if not service.add(expand(url)):
            raise OptionInvalid(
                # the rest of an address is secret
                f"[alerts] services has an address that apprise does not take: {url.partition(':')[0]}:... "
                "Look up its form in the documentation of apprise."
            )
    return service


def expand(value: str) -> str:
    """Return the value of the environment variable that `$NAME` names; other texts as they are."""
    if not value.startswith("$"):
        return value
    found = os.environ.get(value[1:])
    if found is None:
        raise OptionInvalid(f"the environment has no variable {value[1:]}, which [alerts] names. Set it.")
    return found
