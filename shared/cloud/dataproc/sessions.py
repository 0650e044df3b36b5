"""The adapter to the templates of serverless Spark sessions in Dataproc.

Plain REST (ADR 5): the official client costs a third of a second for four calls. A call returns no operation: it is
complete once it has answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from shared.cloud.dataproc.message_check import canonical
from shared.cloud.dataproc.target import RenderTarget
from shared.cloud.dataproc.types import SESSION_TEMPLATE
from shared.cloud.http.clients import Clients
from shared.domain.template.sessions import SessionOffer, SessionSeen, WantedSession, labels_of
from shared.domain.things.catalog import Catalog
from shared.domain.things.errors import ConflictError, NotOursError

_PAGE = 200


class DataprocSessions:
    """The adapter of the port `SessionTemplates` for the notebooks' region, because the launcher shows no others.

    `catalog` and `target` are called each time: the policy in force may change while the process lives.
    """

    def __init__(
        self,
        clients: Clients,
        *,
        project: str,
        region: str,
        catalog: Callable[[], Catalog],
        target: Callable[[], RenderTarget],
    ) -> None:
        self._clients = clients
        self._catalog, self._target = catalog, target
        self._parent = f"projects/{project}/locations/{region}"

    def render(self, offer: SessionOffer) -> WantedSession:
        """Return the template that is rendered from the master and the profile. Makes no call."""
        from shared.cloud.dataproc.session_render import render_session  # the checks it needs are for sweeps alone

        catalog = self._catalog()
        profile = catalog.profiles[offer.profile]
        return render_session(
            catalog.masters[offer.template],
            offer,
            title=profile.title,
            labels=labels_of(offer, profile),
            name=self._name(offer.session_id),
            target=self._target(),
        )

    def rows(self) -> Iterator[SessionSeen]:
        """Yield all templates of all pages, without a filter.

        The caller must also see templates that have one of Benchkeeper's names but not its label.
        """
        token = ""
        while True:
            query = {"pageSize": _PAGE, **({"pageToken": token} if token else {})}
            page = self._clients.json("dataproc").call("GET", f"/v1/{self._parent}/sessionTemplates", params=query)
            yield from (_seen(raw) for raw in page.get("sessionTemplates", []))
            token = page.get("nextPageToken", "")
            if not token:
                return

    def create(self, wanted: WantedSession) -> None:
        """Create the template. Idempotent: succeeds if it exists and is ours.

        Raise `NotOursError` if it is not ours.
        """
        path = f"/v1/{self._parent}/sessionTemplates"
        try:
            self._clients.json("dataproc").call("POST", path, body=wanted.body)
        except ConflictError:
            raw = self._clients.json("dataproc").call_or_none("GET", f"/v1/{self._name(wanted.session_id)}")
            if raw is not None and not _seen(raw).is_ours:
                raise NotOursError(
                    user_message=f"There is a session template '{wanted.session_id}' that Benchkeeper did not make. An "
                    "administrator must rename or remove it.",
                    detail=f"session template {wanted.session_id} exists without our labels",
                ) from None

    def update(self, wanted: WantedSession) -> None:
        """Replace the whole template, because the request has no mask.

        A missing template is created by the next sweep.
        """
        self._clients.json("dataproc").call_or_none("PATCH", f"/v1/{self._name(wanted.session_id)}", body=wanted.body)

    def remove(self, session_id: str) -> None:
        """Delete the template; a missing one is not an error."""
        self._clients.json("dataproc").call_or_none("DELETE", f"/v1/{self._name(session_id)}")

    def _name(self, session_id: str) -> str:
        return f"{self._parent}/sessionTemplates/{session_id}"


def _seen(raw: Mapping[str, Any]) -> SessionSeen:
    body = canonical(raw, SESSION_TEMPLATE)
    return SessionSeen(
        session_id=str(raw["name"]).rpartition("/")[2],
        labels={str(key): str(value) for key, value in body.get("labels", {}).items()},
        body=body,
    )
