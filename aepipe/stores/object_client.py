"""Clients of obstore, for what pyarrow cannot do: whole writes to Azure, and writes under a condition."""

import os
from datetime import timedelta
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from aepipe.stores.connection import ANSWER_S, ATTEMPTS, CONNECT_S, Root, asking, azure_key, s3_endpoint, s3_region
from aepipe.versions import named_extras

if TYPE_CHECKING:
    from obstore.store import AzureStore, S3Store

_FOUND_BY_BOTH = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
"""Credentials of S3 that obstore finds as pyarrow does; it does not read profiles."""


def has_conditional_writes(root: Root) -> bool:
    """Return True if a write to the bucket can depend on the object that is there."""
    if root.scheme == "abfs":
        return True
    return root.scheme == "s3" and find_spec("obstore") is not None and any(map(os.environ.get, _FOUND_BY_BOTH))


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
