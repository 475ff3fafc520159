"""Clients for what pyarrow cannot do: whole writes to Azure, and writes under a condition.

obstore serves S3 and Azure. Google Cloud Storage has a library of its own here: obstore writes there through the XML
interface, which emulators lack, and never without credentials.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from aepipe.stores.connection import ANSWER_S, ATTEMPTS, CONNECT_S, Root, asking, azure_key, s3_endpoint, s3_region
from aepipe.versions import named_extras

if TYPE_CHECKING:
    from google.cloud.storage import Bucket
    from obstore.store import AzureStore, S3Store

_FOUND_BY_BOTH = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
"""Credentials of S3 that obstore finds as pyarrow does; it does not read profiles."""


def has_conditional_writes(root: Root) -> bool:
    """Return True if a write to the bucket can depend on the object that is there."""
    if root.scheme == "abfs":
        return True
    if root.scheme == "gs":
        return _has_google_storage()
    return find_spec("obstore") is not None and any(map(os.environ.get, _FOUND_BY_BOTH))


@lru_cache(maxsize=1)
def _has_google_storage() -> bool:
    try:
        return find_spec("google.cloud.storage") is not None
    except ModuleNotFoundError:
        return False


@lru_cache(maxsize=64)
def client(root: Root) -> "S3Store | AzureStore":
    """Return the client of a bucket of S3 or Azure.

    Raises:
        ExtraMissing: the extra `stores` is not installed.
        StoreUnavailable: the credentials have another form.
    """
    with named_extras(f"{root.scheme}://{root.bucket}"):
        from obstore.store import AzureStore, S3Store

    options = dict(parse_qsl(root.query))
    retry = {"max_retries": ATTEMPTS - 1, "retry_timeout": timedelta(seconds=ANSWER_S)}
    limits = {"connect_timeout": f"{CONNECT_S:g}s", "timeout": f"{ANSWER_S:g}s", "allow_http": True}
    with asking(f"{root.scheme}://{root.bucket}"):
        if root.scheme == "s3":
            endpoint = s3_endpoint(options)
            if endpoint is not None and "://" not in endpoint:
                endpoint = f"{options.get('scheme', 'https')}://{endpoint}"
            region = s3_region(root, options)
            where = {} if endpoint is None else {"endpoint": endpoint}
            return S3Store(root.bucket, region=region, client_options=limits, retry_config=retry, **where)
        account = root.bucket.partition("@")[2].partition(".")[0]
        host = options.get("blob_storage_authority", ".blob.core.windows.net")
        site = f"{account}{host}" if host.startswith(".") else f"{host}/{account}"
        key = azure_key()
        return AzureStore(
            root.folder,
            account_name=account,
            endpoint=f"{options.get('blob_storage_scheme', 'https')}://{site}",
            client_options=limits,
            retry_config=retry,
            **({} if key is None else {"account_key": key}),
        )


@lru_cache(maxsize=64)
def google_bucket(root: Root) -> "Bucket":
    """Return the client of a bucket of Google Cloud Storage; credentials are found as pyarrow finds them.

    Raises:
        StoreUnavailable: there are no credentials.
    """
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.storage import Client

    options = dict(parse_qsl(root.query))
    # without an address, the library would follow a variable of emulators that pyarrow does not know
    host = options.get("endpoint_override", "storage.googleapis.com")
    address = host if "://" in host else f"{options.get('scheme', 'https')}://{host}"
    with asking(f"{root.scheme}://{root.bucket}"), google_errors():
        credentials = AnonymousCredentials() if options.get("anonymous") == "true" else None
        # None for the project: the bucket says which it is, and the library need not look for one
        client = Client(project=None, credentials=credentials, client_options={"api_endpoint": address})
        return client.bucket(root.bucket)


def google_limits() -> dict[str, Any]:
    """Return the limits of a request to Google Cloud Storage, and of its repetition, as keyword arguments."""
    from google.api_core.retry import if_transient_error
    from google.cloud.storage.retry import DEFAULT_RETRY

    def is_temporary(error: Exception) -> bool:
        response = getattr(error, "response", None)
        if response is None:
            return bool(if_transient_error(error))
        response.close()  # the body of a refusal is not read: the connection would stay open
        return response.status_code in (408, 429) or response.status_code >= 500

    return {
        "timeout": (CONNECT_S, ANSWER_S),
        "retry": DEFAULT_RETRY.with_predicate(is_temporary).with_timeout(ANSWER_S),
    }


@contextmanager
def google_errors() -> Iterator[None]:
    """Turn the errors of Google's library into errors that `asking` knows from pyarrow.

    Raises:
        FileNotFoundError: there is no such object or bucket.
        OSError: the store refuses or does not answer.
    """
    from google.api_core.exceptions import GoogleAPICallError, NotFound, RetryError
    from google.auth.exceptions import GoogleAuthError, TransportError
    from google.cloud.storage.exceptions import InvalidResponse
    from requests.exceptions import RequestException

    try:
        yield
    except NotFound as error:
        raise FileNotFoundError(str(error)) from None
    except (GoogleAPICallError, GoogleAuthError, InvalidResponse, RequestException, RetryError) as error:
        found = error.cause if isinstance(error, RetryError) else error
        if isinstance(found, GoogleAPICallError):
            fault = f"HTTP response code: {int(found.code or 0)}"
        elif isinstance(found, InvalidResponse):
            fault = f"HTTP response code: {found.response.status_code}"
        elif isinstance(found, RequestException | TransportError):
            fault = "error sending request"
        else:
            fault = "Authentication"
        raise OSError(f"google::cloud: {fault}: {found}") from None
