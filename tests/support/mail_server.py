"""A mail server and a web server on loopback that keep what they receive."""

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class MailHandler(socketserver.StreamRequestHandler):
    """The commands of SMTP that smtplib sends (RFC 5321)."""

    def handle(self) -> None:
        self.reply(220, "loopback")
        while line := self.rfile.readline():
            command = line.split()[0].upper() if line.split() else b""
            if command == b"EHLO":
                self.reply(250, "loopback")
            elif command == b"DATA":
                self.reply(354, "go on")
                self.keep()
                self.reply(250, "kept")
            elif command == b"QUIT":
                self.reply(221, "bye")
                return
            elif command == b"RCPT" and b"refused" in line:
                self.reply(550, "no such user")
            else:
                self.reply(250, "ok")

    def reply(self, code: int, text: str) -> None:
        self.wfile.write(f"{code} {text}\r\n".encode())

    def keep(self) -> None:
        lines: list[bytes] = []
        while (line := self.rfile.readline()) != b".\r\n":
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        self.server.received.append(message_from_bytes(b"".join(lines), policy=policy.default))  # type: ignore[attr-defined]


class WebHandler(BaseHTTPRequestHandler):
    """Keeps the JSON of every POST; a path /500 is answered with an error."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append(json.loads(body))  # type: ignore[attr-defined]
        self.send_response(500 if self.path == "/500" else 200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


class MailServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@contextmanager
def mail_server() -> Iterator[tuple[int, list[EmailMessage]]]:
    """Yield the port of a mail server and the mails it has received."""
    with running(MailServer(("127.0.0.1", 0), MailHandler)) as found:
        yield found


@contextmanager
def web_server() -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Yield the port of a web server and the documents it has received."""
    with running(ThreadingHTTPServer(("127.0.0.1", 0), WebHandler)) as found:
        yield found


@contextmanager
def running(server: Any) -> Iterator[tuple[int, list[Any]]]:
    server.received = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1], server.received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
