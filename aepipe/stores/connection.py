"""Connections to object stores through pyarrow.fs, and its errors as sentences. No network call at import."""

import base64
import errno
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlsplit

from aepipe.errors import AepipeError, StoreUnavailable, UrlInvalid

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

T = TypeVar("T")

_FORMS = {
    "s3": ("s3://bucket/folder", ("region", "endpoint_override", "scheme", "anonymous")),
    "gs": ("gs://bucket/folder", ("endpoint_override", "scheme", "anonymous")),
    "abfs": (
        "abfs://container@account.dfs.core.windows.net/folder",
        ("blob_storage_authority", "blob_storage_scheme", "dfs_storage_authority", "dfs_storage_scheme"),
    ),
}
"""Form of a URL and its query parameters, by scheme."""
_OTHER_NAMES = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "abfss": "abfs", "az": "abfs", "wasb": "abfs", "wasbs": "abfs"}
ATTEMPTS = 6  # waits of 0.05 to 3 s between them: a store that throttles answers within them
_WAITS_S = (0.2, 0.4, 0.8, 1.6)
CONNECT_S, ANSWER_S = 5.0, 30.0
_CHECKSUMS = "AWS_REQUEST_CHECKSUM_CALCULATION"
_environment = threading.Lock()


class Root(NamedTuple):
    """Bucket of a store, with the query of its URL."""

    scheme: str
    bucket: str
    """Name of the bucket; `container@account.dfs.core.windows.net` for Azure."""
    query: str

    @classmethod
    def of_parts(cls, scheme: str, bucket_and_query: str) -> "Root":
        """Return the bucket of the first two parts of a `StorePath`."""
        bucket, _, query = bucket_and_query.partition("?")
        return cls(scheme.removesuffix(":"), bucket, query)

    @property
    def bucket_and_query(self) -> str:
        """Second part of a `StorePath`."""
        return f"{self.bucket}?{self.query}" if self.query else self.bucket

    @property
    def folder(self) -> str:
        """First part of the paths that pyarrow.fs takes."""
        return self.bucket.partition("@")[0]


def parsed(url: str) -> tuple[Root, tuple[str, ...]]:
    """Return the bucket and the segments of the key of a URL.

    Raises:
        UrlInvalid: the URL does not name a place in a known object store.

    >>> parsed("s3://bucket/a/b?region=eu-west-1")
    (Root(scheme='s3', bucket='bucket', query='region=eu-west-1'), ('a', 'b'))
    """
    url = re.sub(r"^([A-Za-z0-9+.-]+):/(?!/)", r"\1://", url)  # a path has joined the slashes
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError as error:
        raise UrlInvalid(f"{url!r} is not a URL: {error}. Correct it, such as s3://bucket/folder.") from None
    scheme, bucket = parts.scheme.lower(), parts.netloc
    if scheme not in _FORMS:
        other = _OTHER_NAMES.get(scheme)
        remedy = f"Write {other}://." if other else "Name such a URL, or copy the data to this machine."
        raise UrlInvalid(f"{url!r} is not supported: expected a local path, s3://, gs:// or abfs://. {remedy}")
    form, known = _FORMS[scheme]
    if not bucket:
        raise UrlInvalid(f"{url!r} has no bucket: expected {form}. Add it.")
    if (scheme == "abfs") != ("@" in bucket) or ":" in bucket or parts.fragment:
        # a password in a URL would be copied to manifests and logs
        where = f"{scheme}://{bucket.rpartition('@')[2]}"
        raise UrlInvalid(
            f"a URL of {where} has another form: expected {form}, without user, password and port. Edit it."
        )
    if unknown := [name for name in options if name not in known]:
        raise UrlInvalid(
            f"{url!r} has unknown query parameters: expected {', '.join(known)}, got {', '.join(unknown)}. Remove them."
        )
    key = tuple(part for part in parts.path.split("/") if part not in ("", "."))
    if ".." in key:
        raise UrlInvalid(f"{url!r} contains '..': expected a plain URL. Write it in full.")
    return Root(scheme, bucket, parts.query.replace("/", "%2F")), key


@lru_cache(maxsize=64)
def file_system(root: Root) -> "FileSystem":
    """Return the file system of a bucket; credentials are found the way each store's own tools find them."""
    options = dict(parse_qsl(root.query))
    with asking(f"{root.scheme}://{root.bucket}"):
        if root.scheme == "s3":
            return _s3(root, options)
        if root.scheme == "gs":
            return _gcs(options)
        return _azure(root, options)


def _s3(root: Root, options: dict[str, str]) -> "FileSystem":
    from pyarrow import fs

    attempts = os.environ.get("AWS_MAX_ATTEMPTS", "")
    region, endpoint = s3_region(root, options), s3_endpoint(options)
    with plain_uploads(endpoint):
        return fs.S3FileSystem(
            anonymous=options.get("anonymous") == "true",
            region=region,
            endpoint_override=endpoint,
            scheme=options.get("scheme"),
            connect_timeout=CONNECT_S,
            request_timeout=ANSWER_S,
            retry_strategy=fs.AwsStandardS3RetryStrategy(
                max_attempts=int(attempts) if attempts.isdecimal() and int(attempts) else ATTEMPTS
            ),
            # one request per small object, instead of three
            allow_delayed_open=True,
        )


@contextmanager
def plain_uploads(endpoint: str | None) -> Iterator[None]:
    """Let a client that is made in the block send no checksum after the content, unless the environment decides.

    Servers other than Amazon's refuse such a request if they are older than it, among them MinIO. The client reads the
    variable once.
    """
    with _environment:
        if endpoint is None or _CHECKSUMS in os.environ:
            yield
            return
        os.environ[_CHECKSUMS] = "when_required"
        try:
            yield
        finally:
            del os.environ[_CHECKSUMS]


def s3_endpoint(options: dict[str, str]) -> str | None:
    """Return the address of an S3 server; None for Amazon's."""
    named = options.get("endpoint_override")
    return named or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def s3_region(root: Root, options: dict[str, str]) -> str:
    """Return the region of a bucket; ask S3 for it where neither the URL nor the environment names one."""
    from pyarrow import fs

    region = options.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region:
        return region
    return "us-east-1" if s3_endpoint(options) else str(fs.resolve_s3_region(root.bucket))


def _gcs(options: dict[str, str]) -> "FileSystem":
    from pyarrow import fs

    return fs.GcsFileSystem(
        anonymous=options.get("anonymous") == "true",
        endpoint_override=options.get("endpoint_override"),
        scheme=options.get("scheme", "https"),
        retry_time_limit=timedelta(seconds=ANSWER_S),
    )


def _azure(root: Root, options: dict[str, str]) -> "FileSystem":
    from pyarrow import fs

    account = root.bucket.partition("@")[2].partition(".")[0]
    return fs.AzureFileSystem(account_name=account, account_key=azure_key(), **options)


def azure_key() -> str | None:
    """Return the key of a storage account from the environment; None if there is none.

    Raises:
        StoreUnavailable: it is not a key; pyarrow would end the process.
    """
    key = os.environ.get("AZURE_STORAGE_KEY")
    try:
        if key:
            base64.b64decode(key, validate=True)
    except ValueError:
        raise StoreUnavailable(
            f"AZURE_STORAGE_KEY is not the key of a storage account: expected base64, got {len(key or '')} characters "
            "that are not. Copy the key again."
        ) from None
    return key or None


@contextmanager
def asking(place: str) -> Iterator[None]:
    """Turn the errors of a store into FileNotFoundError, or into one sentence with the URL and a remedy.

    Raises:
        FileNotFoundError: there is no such object; `filename` is the URL.
        StoreUnavailable: the store refuses or does not answer.
    """
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), place) from None
    except Exception as error:
        if isinstance(error, OSError) and str(error).startswith(
            "No such file or directory"
        ):  # of GCS, without a number
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), place) from None
        if isinstance(error, AepipeError) or not (isinstance(error, OSError) or is_from_store(error)):
            raise
        raise unavailable(place, error) from None


def retried(call: Callable[[], T]) -> T:
    """Return what `call` returns; call again while a store refuses for the moment.

    The client retries most requests itself. It cannot retry a read of fewer bytes than the error message of the store
    has, and none that breaks off in the middle.
    """
    for wait_s in _WAITS_S:
        try:
            return call()
        except OSError as error:
            if not is_transient(error):
                raise
            time.sleep(wait_s * random.uniform(0.5, 1))  # noqa: S311  not a secret
    return call()


def is_transient(error: Exception) -> bool:
    """Return True for an error of a store that may be gone at the next request."""
    return is_from_store(error) and re.search(f"{_REFUSES}|{_SILENT}|flush response", str(error)) is not None


def unavailable(place: str, error: Exception) -> StoreUnavailable:
    """Return the error for a store that refuses or does not answer."""
    text = " ".join(str(error).partition("Debug source:")[0].split())
    text = re.sub(r"\s*\(?Request ?ID: [^)]*\)?|\s*Detail: \[.*$", "", text).rstrip(".")
    for pattern, reason, remedy in _REASONS:
        if re.search(pattern, text, re.IGNORECASE):
            said = f"{reason}. {remedy}"
            return StoreUnavailable(
                f"{place} cannot be used: {said.replace('bucket', 'container') if place.startswith('abfs') else said}"
            )
    return StoreUnavailable(f"{place} cannot be used: {text}. Check the URL, the credentials and the store.")


def no_bucket(place: str) -> StoreUnavailable:
    """Return the error for a write to a bucket that does not exist."""
    return unavailable(place, OSError(_NO_BUCKET))


def is_from_store(error: Exception) -> bool:
    """Return True for an error of the connection or of the store, as opposed to one of the content of a file.

    >>> is_from_store(OSError("AWS Error SLOW_DOWN during GetObject operation")), is_from_store(OSError("bad page"))
    (True, False)
    """
    return re.search(r"AWS Error|google::cloud|Azure|curlCode|Error performing", str(error)) is not None


_NO_BUCKET = "there is no such bucket"
_REFUSES = (
    "SLOW_DOWN|SERVICE_UNAVAILABLE|THROTTLING|INTERNAL_FAILURE|HTTP response code: (429|50)|HTTP status (429|50)"
    "|status code: (429|50)|ServerBusy|InternalError|\\] (429|50)\\d "
)
_SILENT = (
    "NETWORK_CONNECTION|REQUEST_TIMEOUT|curlCode|CURL error|resolve host|Timeout|new connection for"
    "|error sending request|DEADLINE_EXCEEDED"
)
_REASONS = (
    (
        f"{_NO_BUCKET}|NO_SUCH_BUCKET|NoSuchBucket|ContainerNotFound|bucket .*does not exist",
        _NO_BUCKET,
        "Create it, or correct the URL.",
    ),
    (
        "ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE|CLIENT_TOKEN|UNRECOGNIZED_CLIENT|MISSING_AUTHENTICATION"
        "|EXPIRED_TOKEN|INVALID_TOKEN|HTTP response code: 40[13]|PERMISSION_DENIED|UNAUTHENTICATED|Authori|Forbidden"
        "|Authenti|OAuth2 access token|Bearer token|token request",
        "the credentials are missing or wrong, or lack the permission",
        "Check the credentials and the policy of the bucket.",
    ),
    (
        _REFUSES,
        "the store refuses requests for the moment, after several attempts",
        "Run again later; what is committed stays done.",
    ),
    (
        _SILENT,
        "the store does not answer, after several attempts",
        "Check the endpoint and the network, and run again; what is committed stays done.",
    ),
)
"""Pattern, reason and remedy, in the order in which they are tried."""
