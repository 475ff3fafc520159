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
from urllib.parse import urlsplit

from aepipe.config.alerts import Alerts, Email
from aepipe.errors import DeliveryFailed, OptionInvalid, describe_failure
from aepipe.jobs.alerts.message import AlertMessage
from aepipe.versions import named_extras

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


def post(url: str, message: AlertMessage, *, timeout_s: float) -> None:
    """Post a message as JSON; `text` holds it as plain text, which Slack and Teams webhooks show."""
    address = expand(url)
    if urlsplit(address).scheme not in ("http", "https"):
        raise DeliveryFailed("the webhook is not an address: expected http:// or https://. Check [alerts] webhook.")
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


def mail(settings: Email, message: AlertMessage, *, timeout_s: float) -> None:
    """Send a message as plain text."""
    email = EmailMessage()
    email["Subject"] = " ".join(message.subject.splitlines())
    email["From"], email["To"] = settings.sender, ", ".join(settings.to)
    email.set_content(message.text)
    try:
        with _connect(settings, timeout_s) as server:
            if settings.user is not None:
                server.login(expand(settings.user), expand(settings.password or ""))
            server.send_message(email)
    except (OSError, smtplib.SMTPException) as error:
        raise DeliveryFailed(
            f"mail to {settings.host}:{settings.port} failed: {describe_failure(error)}. Check [alerts.email]."
        ) from None


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
    with named_extras("[alerts] services"):
        import apprise
    scheme = url.partition(":")[0]  # the rest of an address is secret
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # apprise imports imghdr where Python still has it
        service = apprise.Apprise()
        if not service.add(expand(url)):
            raise OptionInvalid(
                f"[alerts] services has an invalid address: expected one of apprise, got {scheme}:... "
                "Look it up in the documentation of apprise."
            )
        if not service.notify(body=message.text, title=message.subject):
            raise DeliveryFailed(f"the service {scheme} refused the message. Check [alerts] services.")


def expand(value: str) -> str:
    """Return the value of the environment variable that `$NAME` names; other texts as they are."""
    if not value.startswith("$"):
        return value
    found = os.environ.get(value[1:])
    if found is None:
        raise OptionInvalid(f"the environment has no variable {value[1:]}, which [alerts] names. Set it.")
    return found
