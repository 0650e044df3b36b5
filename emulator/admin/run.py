"""The resources of a deployed function: its Cloud Run service with an IAM policy, and its Eventarc trigger.

The module also serves the default service account of builds.
"""

from __future__ import annotations

from collections.abc import Callable

from emulator.admin.ground import Ask, Ground, Handler, Json
from emulator.errors import ApiError
from emulator.model.iam_policy import Policy


class Run:
    """A service with Cloud Run services, stored by `projects/P/locations/R/services/S`, and Eventarc triggers, stored by name."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self.services: dict[str, Json] = {}
        self.policies: dict[str, Policy] = {}
        self.triggers: dict[str, Json] = {}
        self.on_forget: list[Callable[[str, str], None]] = []

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by method id."""
        return {
            "run.namespaces.services.get": self.get,
            "run.namespaces.services.list": self.list,
            "run.namespaces.services.replaceService": self.replace,
            "run.projects.locations.services.getIamPolicy": self.get_policy,
            "run.projects.locations.services.setIamPolicy": self.set_policy,
            "eventarc.projects.locations.triggers.get": self.get_trigger,
            "eventarc.projects.locations.triggers.list": self.list_triggers,
            "cloudbuild.projects.locations.getDefaultServiceAccount": self.builder,
        }

    # ---- changes by deployed functions

    def put(self, region: str, short: str, function: Json, *, subscription: str) -> None:
        """Store the service of a deployed function, and its trigger if there is one. Grants on the service stay.

        Settings made at the service itself are lost, because Cloud Functions rewrites the service from the function.
        INFERRED: the proxy's annotation is lost, too. A deployment that handles the loss also works if the annotation
        is kept.
        """
        ground = self._ground
        name = f"projects/{ground.project}/locations/{region}/services/{short}"
        config = function["serviceConfig"]
        self.services[name] = {
            "apiVersion": "serving.knative.dev/v1",
            "kind": "Service",
            "metadata": {
                "name": short,
                "namespace": ground.number,
                "generation": 1,
                "labels": {
                    **function.get("labels", {}),
                    "goog-managed-by": "cloudfunctions",
                    "cloud.googleapis.com/location": region,
                },
                "annotations": {"cloudfunctions.googleapis.com/function-id": short},
                "creationTimestamp": function["createTime"],
            },
            "spec": {
                "template": {
                    "spec": {
                        "serviceAccountName": config["serviceAccountEmail"],
                        "containerConcurrency": config["maxInstanceRequestConcurrency"],
                        "timeoutSeconds": config["timeoutSeconds"],
                    }
                }
            },
            "status": {
                "url": config["uri"],
                "observedGeneration": 1,
                "latestReadyRevisionName": config["revision"],
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }
        self.policies.setdefault(name, Policy())
        trigger = function.get("eventTrigger")
        if trigger:
            self.triggers[trigger["trigger"]] = {
                "name": trigger["trigger"],
                "uid": f"trigger-{short}",
                "createTime": function["createTime"],
                "eventFilters": [{"attribute": "type", "value": trigger["eventType"]}],
                "serviceAccount": trigger["serviceAccountEmail"],
                "destination": {"cloudFunction": function["name"]},
                "transport": {"pubsub": {"topic": trigger["pubsubTopic"], "subscription": subscription}},
                "labels": {
                    "goog-managed-by": "cloudfunctions",
                    "goog-drz-cloudfunctions-location": region,
                    "goog-drz-cloudfunctions-id": short,
                },
            }

    def trigger_of(self, function: str) -> str:
        """Return the name of a function's trigger, or "" if the function has no trigger."""
        return next((k for k, t in self.triggers.items() if t["destination"]["cloudFunction"] == function), "")

    def forget(self, region: str, short: str) -> None:
        """Remove a deleted function's service, its grants and its trigger."""
        name = f"projects/{self._ground.project}/locations/{region}/services/{short}"
        self.services.pop(name, None)
        self.policies.pop(name, None)
        for tell in self.on_forget:
            tell(region, short)
        for key, trigger in list(self.triggers.items()):
            if trigger["destination"]["cloudFunction"].endswith(f"/{region}/functions/{short}"):
                del self.triggers[key]

    # ---- Cloud Run

    def get(self, ask: Ask) -> Json:
        """Answer `namespaces.services.get`.

        The name alone identifies the service, because the region is part of the endpoint's host, which an endpoint
        override hides.
        """
        short = ask.of("name").rpartition("/")[2]
        for name, service in self.services.items():
            if name.endswith(f"/services/{short}"):
                return service
        raise ApiError("NOT_FOUND", f"Resource '{short}' of kind 'SERVICE' in region '' in project '{self._ground.project}' does not exist.")  # fmt: skip

    def list(self, ask: Ask) -> Json:
        """Answer `namespaces.services.list`."""
        del ask
        return {"apiVersion": "serving.knative.dev/v1", "kind": "ServiceList", "items": list(self.services.values())}

    def replace(self, ask: Ask) -> Json:
        """Answer `namespaces.services.replaceService`: replace all fields except those that the service itself sets."""
        old = self.get(ask)
        name = next(key for key, service in self.services.items() if service is old)
        generation = int(old["metadata"]["generation"]) + 1
        metadata = {**ask.body["metadata"], "generation": generation, "namespace": self._ground.number}
        status = {**old["status"], "observedGeneration": generation}
        self.services[name] = {**ask.body, "metadata": metadata, "status": status}
        return self.services[name]

    def get_policy(self, ask: Ask) -> Json:
        """Answer `services.getIamPolicy`. A missing service gives the same error as one that the caller may not see."""
        return self._policy(ask).view(ask.policy_version())

    def set_policy(self, ask: Ask) -> Json:
        """Answer `services.setIamPolicy`."""
        return self._policy(ask).put(ask.body.get("policy", {}))

    def _policy(self, ask: Ask) -> Policy:
        name = ask.of("resource")
        if name not in self.policies:
            raise ApiError("NOT_FOUND", f"Resource '{name.rpartition('/')[2]}' of kind 'SERVICE' does not exist.")
        return self.policies[name]

    # ---- Eventarc, Cloud Build

    def get_trigger(self, ask: Ask) -> Json:
        """Answer `triggers.get`."""
        name = ask.of("name")
        if name not in self.triggers:
            raise ApiError("NOT_FOUND", f"Resource '{name}' was not found")
        return self.triggers[name]

    def list_triggers(self, ask: Ask) -> Json:
        """Answer `triggers.list`; `locations/-` lists the triggers of all locations."""
        parent = ask.of("parent")
        prefix = parent.removesuffix("-") if parent.endswith("/-") else f"{parent}/triggers/"
        found = [trigger for name, trigger in sorted(self.triggers.items()) if name.startswith(prefix)]
        return {"triggers": found} if found else {}

    def builder(self, ask: Ask) -> Json:
        """Answer `locations.getDefaultServiceAccount`."""
        region = ask.of("name").split("/")[3]
        ground = self._ground
        email = f"{ground.number}-compute@developer.gserviceaccount.com"
        return {
            "name": f"projects/{ground.number}/locations/{region}/defaultServiceAccount",
            "serviceAccountEmail": f"projects/{ground.project}/serviceAccounts/{email}",
        }
