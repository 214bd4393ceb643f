"""Does a blocked night arrive as a mail and as a message on Slack?"""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from email import message_from_string
from email.header import decode_header, make_header
from typing import Any

import pytest
import requests

from configs.plan import NotifySpec
from flows.notify import notify
from tests.flows.test_synthesize import server

__all__ = ["server"]
SUBJECT, BODY = (
    "counterpoise: parts blocked",
    "BLOCK, a region of pit is missing\nin quarantine: published/parts/quarantine/ab12",
)


@pytest.fixture
def post() -> Iterator[tuple[int, list[str]]]:
    """A mail server: its port, and the mails that it took."""
    mails: list[str] = []

    class Session(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            while line := self.rfile.readline().decode().strip():
                verb = line[:4].upper()
                if verb == "DATA":
                    self.wfile.write(b"354 go on\r\n")
                    taken = []
                    while (part := self.rfile.readline().decode().rstrip("\r\n")) != ".":
                        taken.append(part)
                    mails.append("\n".join(taken))
                self.wfile.write(b"221 bye\r\n" if verb == "QUIT" else b"250 yes\r\n")
                if verb == "QUIT":
                    return

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running.server_address[1], mails
        running.shutdown()


def test_a_mail_names_the_worst_cell(post: tuple[int, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    port, mails = post
    monkeypatch.setenv("TOLD", f"mailto://127.0.0.1:{port}?from=night@example.org&to=team@example.org&mode=insecure")
    assert notify(NotifySpec(addresses="TOLD"), "blocked", SUBJECT, BODY) == []
    (mail,) = (message_from_string(text) for text in mails)
    assert str(make_header(decode_header(mail["Subject"]))) == SUBJECT and "team@example.org" in mail["To"]
    parts = [part.get_payload(decode=True) for part in mail.walk() if part.get_content_maintype() == "text"]
    assert any(b"a region of pit is missing" in bytes(part) for part in parts if part)


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("heard", [True, False])
def test_a_block_of_slack_is_told_or_it_is_said_that_it_was_not(heard: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.blocks.notifications import SlackWebhook

    told: list[tuple[str, str]] = []

    def post(method: str, url: str, data: str = "", **_: Any) -> requests.Response:
        told.append((url, data))
        answer = requests.Response()
        answer.status_code, answer._content = (200, b"ok") if heard else (404, b"no_service")
        return answer

    SlackWebhook(url="https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ").save(
        "alerts", overwrite=True
    )
    monkeypatch.setattr("apprise.plugins.slack.requests.request", post)
    lost = notify(NotifySpec(blocks=["slack-webhook/alerts"]), "blocked", SUBJECT, BODY)
    assert lost == ([] if heard else ["block slack-webhook/alerts could not be told (NotificationError)"])
    assert told[0][0].startswith("https://hooks.slack.com/services/T1JJ3T3L2")
    assert SUBJECT in told[0][1] and "a region of pit is missing" in told[0][1]
