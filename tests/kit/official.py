"""Google's own clients over the same cloud: how tests arrange and look, and the measure of what the product sends itself."""

from __future__ import annotations

from typing import Any

import requests
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import AuthorizedSession
from google.cloud import storage
from google.cloud.notebooks_v2 import NotebookServiceClient

from shared.cloud.http.clients import Clients

_KEPT = "_official"


def session(clients: Clients) -> requests.Session:
    """The session of these clients' cloud, made once."""
    return _once(clients, "session", lambda: mounted(clients, AuthorizedSession(AnonymousCredentials())))


def storage_bucket(clients: Clients, name: str = "") -> Any:
    """The bucket object of google-cloud-storage; without a name the bucket of records."""
    return _once(clients, "storage", lambda: _storage(clients)).bucket(name or clients.bucket().name)


def notebooks(clients: Clients) -> Any:
    """The Notebooks v2 client over REST."""

    def build() -> Any:
        made = NotebookServiceClient(
            transport="rest",
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": clients.api_endpoint},
        )
        mounted(clients, made.transport._session)
        return made

    return _once(clients, "notebooks", build)


def mounted(clients: Clients, made: requests.Session) -> requests.Session:
    """The session with the adapter that answers for these clients' cloud, if there is one."""
    if clients.mount is not None:
        made.mount("https://", clients.mount)
        made.mount("http://", clients.mount)
    made.trust_env = False
    return made


def _storage(clients: Clients) -> Any:
    client = storage.Client(
        project="benchkeeper-local",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": clients.api_endpoint},
        _http=session(clients),
    )
    # Since 3.17 the client asks for the bucket's metadata in the background, to decorate traces.
    client._bucket_metadata_cache = None
    return client


def _once(clients: Clients, name: str, build: Any) -> Any:
    kept = clients.__dict__.setdefault(_KEPT, {})
    if name not in kept:
        kept[name] = build()
    return kept[name]
