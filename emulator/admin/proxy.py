"""The access policies of Identity-Aware Proxy for each Cloud Run service.

The proxy is switched on at the service itself (`run`).
"""

from __future__ import annotations

import re

from emulator.admin.ground import Ask, Ground, Handler, Json
from emulator.admin.run import Run
from emulator.errors import ApiError
from emulator.model.iam_policy import Policy

# The resource's name as in gcloud 528 (api_lib/iap/util.py, CloudRun).
_SERVICE = re.compile(r"projects/(?P<project>[^/]+)/iap_web/cloud_run-(?P<region>[a-z0-9-]+)/services/(?P<name>[^/]+)")


class Proxy:
    """The policies by `projects/P/iap_web/cloud_run-R/services/S`."""

    def __init__(self, ground: Ground, run: Run) -> None:
        self._ground = ground
        self._run = run
        self.policies: dict[str, Policy] = {}
        self.gone: list[Policy] = []  # the last policies of deleted services
        run.on_forget.append(self._forget)

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by method id."""
        return {"iap.getIamPolicy": self.get_policy, "iap.setIamPolicy": self.set_policy}

    def get_policy(self, ask: Ask) -> Json:
        """Answer `getIamPolicy`, a POST with the policy's version in its body."""
        return self._policy(ask).view(ask.policy_version())

    def set_policy(self, ask: Ask) -> Json:
        """Answer `setIamPolicy`."""
        return self._policy(ask).put(ask.body.get("policy", {}))

    def _policy(self, ask: Ask) -> Policy:
        resource = ask.of("resource")
        found = _SERVICE.fullmatch(resource)
        if found is None:
            raise ApiError(
                "INVALID_ARGUMENT", f"The embedded cloud has the proxy for Cloud Run services only, not {resource}."
            )
        if (
            f"projects/{found['project']}/locations/{found['region']}/services/{found['name']}"
            not in self._run.services
        ):
            raise ApiError("NOT_FOUND", "Requested entity was not found.")
        return self.policies.setdefault(resource, Policy())

    def _forget(self, region: str, short: str) -> None:
        """Remove the policy of a deleted service. INFERRED: the fate of the policy is not documented."""
        gone = self.policies.pop(f"projects/{self._ground.project}/iap_web/cloud_run-{region}/services/{short}", None)
        if gone is not None:
            self.gone.append(gone)
