"""The webhook of a chat room, which takes `{"text": …}` as Google Chat, Slack and Mattermost do. The URL is a secret."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from urllib.parse import urlsplit

from shared.cloud.http.clients import Clients
from shared.domain.record.parts import Trouble
from shared.domain.things.errors import BenchkeeperError
from shared.engine.ports.mail import Letter, NotAcceptedError

_MARKS = str.maketrans({"<": "\u2039", ">": "\u203a", "[": "(", "]": ")"})
_MENTION = re.compile(r"(?<![^\s(\u2039*_~])@(?=\w)")  # at the beginning of a word: not that of an address
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class ChatRoom:
    """The adapter of the port `Chat`. `address` returns the webhook's URL; it is called again for each message."""

    def __init__(self, clients: Clients, address: Callable[[], str]) -> None:
        self._clients, self._address = clients, address

    def post(self, letter: Letter) -> None:
        """Post the subject and the text. Raise `NotAcceptedError` if that fails; `is_unsure` is True if there was no answer."""
        address = self._address()
        parts = urlsplit(address)
        is_local = self._clients.api_endpoint is not None and parts.hostname in _LOOPBACK
        if parts.scheme != "https" and not is_local:
            raise NotAcceptedError(Trouble.CHAT, "the secret is not an https URL")
        body = json.dumps({"text": _plain(f"{letter.subject}\n\n{letter.text}")}).encode()
        headers = {"content-type": "application/json; charset=utf-8"}
        try:
            answer = self._clients.without_credentials().send("POST", address, headers=headers, body=body)
        except (OSError, BenchkeeperError) as error:
            raise NotAcceptedError(Trouble.CHAT, type(error).__name__, is_unsure=True) from error
        if not answer.ok:
            lasts = 400 <= answer.status < 500 and answer.status != 429  # noqa: PLR2004 - HTTP
            raise NotAcceptedError(Trouble.CHAT, f"the room said {answer.status}", lasts=lasts)


def _plain(text: str) -> str:
    """Return the text without markup that a room would act on.

    `<!channel>` and `<users/all>` call everybody; `<…|…>` and `[…](…)` hide a link.
    """
    return _MENTION.sub("@\u200b", text.translate(_MARKS))
