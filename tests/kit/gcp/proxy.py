"""Identity-Aware Proxy's part: who may pass it, for each Cloud Run service. Whether it is on stands at the service itself (`run`)."""

from __future__ import annotations

import re

from emulator.errors import ApiError
from tests.kit.gcp.ground import Ask, Ground, Handler, Json
from tests.kit.gcp.policy import Policy
from tests.kit.gcp.roles import Roles
from tests.kit.gcp.run import Run

# As gcloud 528 names it (api_lib/iap/util.py, CloudRun).
_SERVICE = re.compile(r"projects/(?P<project>[^/]+)/iap_web/cloud_run-(?P<region>[a-z0-9-]+)/services/(?P<name>[^/]+)")


class Proxy:
    """Policies by `projects/P/iap_web/cloud_run-R/services/S`."""

    def __init__(self, ground: Ground, roles: Roles, run: Run) -> None:
        self._ground = ground
        self._roles = roles
        self._run = run
        self.policies: dict[str, Policy] = {}
        run.on_forget.append(self._forget)

    def handlers(self) -> dict[str, Handler]:
        """By method id."""
        return {"iap.getIamPolicy": self.get_policy, "iap.setIamPolicy": self.set_policy}

    def get_policy(self, ask: Ask) -> Json:
        """`getIamPolicy`; a POST, with the policy's version in its body."""
        asked = ask.body.get("options", {}).get("requestedPolicyVersion", 1)
        return self._policy(ask).get(int(asked))

    def set_policy(self, ask: Ask) -> Json:
        """`setIamPolicy`."""
        return self._policy(ask).put(ask.body.get("policy", {}), has_role=self._roles.known)

    def _policy(self, ask: Ask) -> Policy:
        resource = ask.of("resource")
        found = _SERVICE.fullmatch(resource)
        if found is None:
            raise ApiError(
                "INVALID_ARGUMENT", f"The admin cloud has the proxy for Cloud Run services only, not {resource}."
            )
        if (
            f"projects/{found['project']}/locations/{found['region']}/services/{found['name']}"
            not in self._run.services
        ):
            raise ApiError("NOT_FOUND", "Requested entity was not found.")
        return self.policies.setdefault(resource, Policy(self._ground))

    def _forget(self, region: str, short: str) -> None:
        """A service is gone, and who could open it with it. INFERRED: no page says what becomes of the policy."""
        self.policies.pop(f"projects/{self._ground.project}/iap_web/cloud_run-{region}/services/{short}", None)
