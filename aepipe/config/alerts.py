"""Section `[alerts]`: channels and content of the message about flagged rows."""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from aepipe.frozen import FrozenModel


class Email(FrozenModel):
    """Mail server and addresses."""

    to: tuple[str, ...] = Field(min_length=1, description="addresses of the recipients")
    sender: str = Field("aepipe@localhost", description="address of the sender")
    host: str = Field("localhost", description="SMTP server")
    port: int = Field(25, ge=1, le=65_535, description="port of the server; 587 with starttls, 465 with tls")
    security: Literal["none", "starttls", "tls"] = Field("none", description="encryption of the connection")
    user: str | None = Field(None, description="user name; $NAME reads an environment variable")
    password: str | None = Field(None, description="password; $NAME reads an environment variable")


class Alerts(FrozenModel):
    """One message per run about flagged rows and drift; without a channel none is sent."""

    webhook: str | None = Field(
        None, description="URL that receives the message as JSON; $NAME reads an environment variable"
    )
    email: Email | None = Field(None, description="mail server and recipients; default: no mail")
    services: tuple[str, ...] = Field(
        (),
        description="URLs of apprise, such as slack://... or msteams://...; $NAME reads an environment variable",
    )
    when: Literal["flagged", "excess"] = Field(
        "flagged",
        description="send if a row is flagged, or only if more rows are flagged than alpha explains; drift and "
        "failed partitions are always sent",
    )
    entity: str | None = Field(
        None,
        description="key, label, event-time or entity column; rows of the same value are one line of the message; "
        "default: [data] entity",
    )
    most: int = Field(20, ge=1, le=1_000, description="most lines; [calibration] capacity is a limit too")
    link: str | None = Field(
        None, description="address of the report, such as https://reports/{job}/{partition}.html; default: its path"
    )
    timeout_s: float = Field(10.0, gt=0, le=300, description="seconds to wait for a channel")

    @field_validator("webhook")
    @classmethod
    def _is_http(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("$") and urlsplit(value).scheme not in ("http", "https"):
            raise ValueError(f"expected a URL that starts with https:// or http://, or $NAME, got {value!r}")
        return value

    @field_validator("link")
    @classmethod
    def _has_known_fields(cls, value: str | None) -> str | None:
        try:
            if value is not None:
                value.format(job="", partition="")
        except (KeyError, IndexError, ValueError):
            raise ValueError(f"expected no fields but {{job}} and {{partition}}, got {value!r}") from None
        return value

    @property
    def has_channel(self) -> bool:
        """True if messages go anywhere."""
        return self.webhook is not None or self.email is not None or bool(self.services)
