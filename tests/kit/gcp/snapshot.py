"""The world as plain data, without what differs between two equal worlds: times, etags, numbers that are given once."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.kit.gcp.cloud import AdminCloud

_FLEETING = {
    "createTime", "updateTime", "etag", "uniqueId", "oauth2ClientId", "creationRecord", "mutationRecord", "creationTime", "build",
    "revision", "userUpdateTime", "scheduleTime", "lastAttemptTime", "uid", "lockedTime", "effectiveTime", "storageSource",
    "generation", "metageneration",
}  # fmt: skip


def snapshot(admin: AdminCloud) -> dict[str, Any]:
    """One dict of everything that exists, JSON-able, keyed by names."""
    embedded, ground = admin.embedded, admin.ground
    project = ground.project
    with embedded.world.lock:
        accounts = embedded.iam.listing(project, size=100, token="").get("accounts", [])
        state = {
            "apis": sorted(ground.apis),
            "accounts": {row["email"]: row | {"iam": embedded.iam.get_policy(row["name"], version=3).get("bindings", [])} for row in accounts},
            "roles": {row["name"]: row for row in embedded.access.roles(project, deleted=True, full=True).get("roles", [])},
            "project_iam": embedded.access.project_policy.bindings,
            "agents_iam": {email: policy.bindings for email, policy in admin.projects.agents.items()},
            "buckets": {name: bucket.fields | {"iam": bucket.policy.get("bindings", [])} for name, bucket in embedded.storage.buckets.by_name.items()},
            "topics": {name: topic.config | {"iam": topic.policy.get("bindings", [])} for name, topic in embedded.pubsub.topics.items()},
            "subscriptions": {
                name: _without_push(subscription.config) | {"iam": subscription.policy.get("bindings", [])}
                for name, subscription in embedded.pubsub.subscriptions.items()
            },
            "functions": admin.functions.by_name,
            "triggers": {trigger["destination"]["cloudFunction"]: trigger | {"name": ""} for trigger in admin.run.triggers.values()},
            "run_iam": {name: policy.bindings for name, policy in admin.run.policies.items()},
            "proxied": sorted(name for name, service in admin.run.services.items() if _is_proxied(service)),
            "proxy_iam": {name: policy.bindings for name, policy in admin.proxy.policies.items()},
            "domains": admin.domains.mappings,
            "jobs": embedded.scheduler.dump()["jobs"],
            "sinks": admin.logs.sinks,
            "metrics": admin.logs.metrics,
            "alerts": {_called(row): row | {"name": ""} for row in admin.watch.alerts.values()},
            "channels": {_called(row): row | {"name": ""} for row in admin.watch.channels.values()},
            "dashboards": {_called(row): row | {"name": ""} for row in admin.watch.dashboards.values()},
            "datasets": admin.tables.datasets,
            "tables": admin.tables.tables,
            "secrets": {
                name: {"versions": len(each["versions"]), "iam": each["bindings"]}
                for name, each in admin.embedded.secrets.dump().items()
            },
            "keys_iam": {name: policy.bindings for name, policy in admin.keys.policies.items()},
        }  # fmt: skip
        return {part: _lasting(copy.deepcopy(content)) for part, content in state.items()}


def _is_proxied(service: dict[str, Any]) -> bool:
    return service["metadata"].get("annotations", {}).get("run.googleapis.com/iap-enabled") == "true"


def _called(row: dict[str, Any]) -> str:
    return str(row.get("displayName", row["name"]))


def _without_push(config: dict[str, Any]) -> dict[str, Any]:
    """A push endpoint holds the port."""
    return {
        **config,
        "pushConfig": {key: value for key, value in config.get("pushConfig", {}).items() if key != "pushEndpoint"},
    }


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lasting(inner) for key, inner in value.items() if key not in _FLEETING}
    return [_lasting(inner) for inner in value] if isinstance(value, list) else value
