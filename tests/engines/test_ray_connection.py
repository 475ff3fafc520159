"""Addresses of Ray at which no cluster answers: one sentence that names the setting to change."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from aepipe.batch.score_settings import ClusterSettings
from aepipe.errors import ClusterUnavailable

ray = pytest.importorskip("ray", reason="the extra ray is not installed")

from aepipe.engines import ray_connection  # noqa: E402
from aepipe.engines.ray_connection import connected  # noqa: E402


@pytest.fixture(autouse=True)
def no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@contextmanager
def service(answer: bytes | None) -> Iterator[str]:
    """Serve an address that answers each connection with these bytes; None: with nothing, for as long as it runs."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                held.append(connection)
                if answer is not None:
                    with suppress(OSError):  # the client has gone
                        connection.sendall(answer)
                        connection.shutdown(socket.SHUT_WR)

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        for connection in held:
            connection.close()


def refusal(address: str | None) -> str:
    with pytest.raises(ClusterUnavailable) as raised, connected(ClusterSettings(address=address)):
        pytest.fail("the client connects")
    return str(raised.value)


@pytest.mark.parametrize(
    "address",
    ["nowhere", ":6379", "127.0.0.1:x", "127.0.0.1:99999", "http://127.0.0.1:8265", "127.0.0.1:-1"],
)
def test_an_invalid_address_is_refused_in_one_sentence(address: str) -> None:
    assert refusal(address) == (
        f"the address of the Ray cluster is invalid: expected host:port, got {address}. Change [run.ray] address."
    )


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_closed_port_is_one_sentence(scheme: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{free.getsockname()[1]}"

    assert refusal(address) == (
        f"the Ray cluster at {address} does not answer: Connection refused. Check [run.ray] address, and that the "
        "cluster runs."
    )


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"\0\0\0\4"])
def test_a_port_of_another_service_is_one_sentence(answer: bytes) -> None:
    with service(answer) as address:
        found = refusal(address)

    assert found == (
        f"the Ray cluster at {address} does not answer: another service listens there. Check [run.ray] address, and "
        "that the cluster runs."
    )


def test_a_cluster_that_hangs_is_left_after_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ray_connection._CONNECT_S == 10
    monkeypatch.setattr(ray_connection, "_CONNECT_S", 0.2)

    with service(None) as address:
        found = refusal(address)

    assert found == (
        f"the Ray cluster at {address} does not answer within 0.2 seconds. Check [run.ray] address, and that the "
        "cluster runs."
    )


@pytest.mark.parametrize("by_job", [None, "", "auto"])
def test_an_address_of_the_environment_is_named_as_such(monkeypatch: pytest.MonkeyPatch, by_job: str | None) -> None:
    with service(b"") as address:
        monkeypatch.setenv("RAY_ADDRESS", address)
        found = refusal(by_job)
        monkeypatch.setenv("RAY_ADDRESS", "nowhere")
        invalid = refusal(by_job)

    assert found.endswith("another service listens there. Check RAY_ADDRESS, and that the cluster runs.")
    assert invalid.endswith("expected host:port, got nowhere. Change RAY_ADDRESS.")


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        (
            "auto",
            "Ray on this machine cannot be used: the node did not start in time. Run `ray start --head`, or change "
            "[run.ray] address.",
        ),
        (
            None,
            "Ray on this machine cannot be used: the node did not start in time. Look into "
            "/tmp/ray/session_latest/logs, or set [run.ray] address to a running cluster.",
        ),
    ],
)
def test_ray_of_this_machine_that_does_not_start_is_one_sentence(
    address: str | None, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise Exception("the node did not start in time.\nstack of the driver")

    monkeypatch.setattr(ray, "init", refuse)

    assert refusal(address) == sentence
