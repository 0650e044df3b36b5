"""Secret Manager as a deployment calls it: secrets, their policies, and the listing of versions.

The model is the embedded cloud's.
"""

from __future__ import annotations

from emulator.admin.ground import Ask, Ground, Handler, Json


class Secrets:
    """The handlers of Secret Manager."""

    def __init__(self, ground: Ground) -> None:
        self._model = ground.embedded.secrets

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by method id."""
        secrets = "secretmanager.projects.secrets"
        return {
            f"{secrets}.create": self.create,
            f"{secrets}.list": lambda ask: self._model.listing(ask.of("parent")),
            f"{secrets}.get": lambda ask: self._model.get(ask.of("name")),
            f"{secrets}.delete": lambda ask: self._model.delete(ask.of("name")),
            f"{secrets}.addVersion": lambda ask: self._model.add(ask.of("parent"), ask.body),
            f"{secrets}.versions.list": lambda ask: self._model.versions(ask.of("parent")),
            f"{secrets}.versions.access": self.access,
            f"{secrets}.getIamPolicy": lambda ask: self._model.policy(ask.of("resource")).view(ask.policy_version()),
            f"{secrets}.setIamPolicy": self.set_policy,
        }

    def create(self, ask: Ask) -> Json:
        """Answer `secrets.create`."""
        return self._model.create(ask.of("parent").removeprefix("projects/"), ask.query.get("secretId", ""), ask.body)

    def access(self, ask: Ask) -> Json:
        """Answer `versions.access`."""
        secret, _, version = ask.of("name").rpartition("/versions/")
        return self._model.access(secret, version)

    def set_policy(self, ask: Ask) -> Json:
        """Answer `secrets.setIamPolicy`."""
        return self._model.policy(ask.of("resource")).put(ask.body.get("policy", {}))
