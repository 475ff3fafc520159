"""An S3 server on loopback that counts its requests, and fails or delays those that a test names."""

import io
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import S3FileSystem

from aepipe.stores import StorePath
from aepipe.stores.connection import file_system

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_REGION": "us-east-1",
    "AWS_MAX_ATTEMPTS": "4",
}
_BODY = '<?xml version="1.0"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'


@dataclass
class Fault:
    """Answers to the next requests whose `METHOD /bucket/key` matches."""

    request: str
    status: int = 503
    code: str = "SlowDown"
    count: int = 1_000_000
    delay_s: float = 0.0
    """Seconds after which the request is answered as usual, instead of with `status`."""


@dataclass
class FaultyServer:
    """Application in front of moto's."""

    application: Callable[..., Iterable[bytes]]
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        request = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
        span = environ.get("HTTP_RANGE", "")
        self.requests.append(f"{request} {environ['QUERY_STRING']} {span}".strip())
        for fault in self.faults:
            if fault.count and re.search(fault.request, request):
                fault.count -= 1
                time.sleep(fault.delay_s)
                if not fault.delay_s:
                    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                    return self._refuse(fault, environ, start)
        return self.application(environ, start)

    @staticmethod
    def _refuse(fault: Fault, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        body = _BODY.format(code=fault.code).encode() if environ["REQUEST_METHOD"] != "HEAD" else b""
        start(f"{fault.status} {fault.code}", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [body]


@dataclass(frozen=True)
class Store:
    """A bucket of its own for one test."""

    server: FaultyServer
    bucket: StorePath

    def fail(self, request: str, **options: Any) -> None:
        """Answer matching requests with an error, or late."""
        self.server.faults.append(Fault(request, **options))

    @property
    def keys(self) -> list[str]:
        """Keys of all objects of the bucket."""
        return [path.relative_to(self.bucket).as_posix() for path in self.bucket.rglob("*")]

    def put(self, key: str, data: bytes) -> StorePath:
        path = self.bucket / key
        with path.file_system.open_output_stream(path.in_store) as stream:
            stream.write(data)
        return path

    def put_table(self, key: str, table: pa.Table, **options: Any) -> StorePath:
        sink = io.BytesIO()
        pq.write_table(table, sink, **options)
        return self.put(key, sink.getvalue())


@contextmanager
def running_server() -> Iterator[tuple[FaultyServer, str]]:
    """Start the server and return it with its URL."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, *_: Any) -> None:
            """Say nothing."""

    application = FaultyServer(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield application, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def new_bucket(server: FaultyServer, url: str) -> Store:
    """Make a bucket; the environment of the process must name the server."""
    server.faults.clear()
    name = f"test-{uuid.uuid4().hex[:12]}"
    S3FileSystem(endpoint_override=url, region="us-east-1", allow_bucket_creation=True).create_dir(name)
    file_system.cache_clear()
    server.requests.clear()
    return Store(server, StorePath.of(f"s3://{name}"))
