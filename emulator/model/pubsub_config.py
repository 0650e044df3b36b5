"""The settings of topics and subscriptions: the valid keys and values, and the keys that may change. All have the API's JSON form."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from emulator.errors import not_served
from emulator.model.pubsub_names import check_duration, check_labels, check_name, parse_duration, refuse
from emulator.model.pubsub_queue import Rules

Config = dict[str, Any]

_TEN_MINUTES = timedelta(minutes=10)
_DAY = timedelta(days=1)
_MONTH = timedelta(days=31)
_TEN_MINUTES_OF_RETRY = timedelta(seconds=600)
_ATTEMPTS = (5, 100)
_ACK_DEADLINE_S = (10, 600)

_SUBSCRIPTION_FIELDS = {
    "name", "topic", "push_config", "ack_deadline_seconds", "retain_acked_messages", "message_retention_duration",
    "labels", "enable_message_ordering", "expiration_policy", "filter", "dead_letter_policy", "retry_policy", "detached",
    "enable_exactly_once_delivery", "topic_message_retention_duration", "state", "bigquery_config",
    "cloud_storage_config", "bigtable_config", "analytics_hub_subscription_info", "message_transforms", "tags",
}  # fmt: skip
_SUBSCRIPTION_MUTABLE = {
    "push_config", "ack_deadline_seconds", "retain_acked_messages", "message_retention_duration", "labels",
    "expiration_policy", "dead_letter_policy", "retry_policy",
}  # fmt: skip
_TOPIC_FIELDS = {
    "name", "labels", "message_storage_policy", "kms_key_name", "schema_settings", "satisfies_pzs",
    "message_retention_duration", "state", "ingestion_data_source_settings", "message_transforms", "tags",
}  # fmt: skip
_TOPIC_MUTABLE = {"labels", "message_storage_policy", "message_retention_duration"}
_NOT_SERVED = {
    "enableExactlyOnceDelivery", "bigqueryConfig", "cloudStorageConfig", "bigtableConfig", "messageTransforms", "tags",
    "schemaSettings", "ingestionDataSourceSettings", "analyticsHubSubscriptionInfo",
}  # fmt: skip


def camel(path: str) -> str:
    """Return a path in camelCase: `push_config` -> `pushConfig`."""
    return re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), path)


def _refuse_unserved(config: Config) -> None:
    for name in sorted(_NOT_SERVED & set(config)):
        if config[name]:
            raise not_served(f"The embedded cloud does not serve the field {name}.")


def topic_config(config: Config) -> Config:
    """Return a topic's stored form: checked, with the service's defaults."""
    _refuse_unserved(config)
    check_name(config.get("name", ""), "topics")
    check_labels(config.get("labels", {}))
    if "messageRetentionDuration" in config:
        check_duration(
            config["messageRetentionDuration"], field="message_retention_duration", low=_TEN_MINUTES, high=_MONTH
        )
    return {**config, "state": "ACTIVE"}


def subscription_config(config: Config) -> Config:
    """Return a subscription's stored form: checked, with the service's defaults. Its topics are not looked up here."""
    _refuse_unserved(config)
    check_name(config.get("name", ""), "subscriptions")
    kept = {
        **config,
        "ackDeadlineSeconds": config.get("ackDeadlineSeconds", 0) or _ACK_DEADLINE_S[0],
        "messageRetentionDuration": config.get("messageRetentionDuration", "604800s"),
        "pushConfig": config.get("pushConfig", {}),
        "expirationPolicy": config.get("expirationPolicy", {"ttl": f"{int(_MONTH.total_seconds())}s"}),
        "state": "ACTIVE",
    }
    low, high = _ACK_DEADLINE_S
    if not low <= kept["ackDeadlineSeconds"] <= high:
        refuse(f"Invalid ack deadline given (ack_deadline_secs={kept['ackDeadlineSeconds']}).")
    check_labels(kept.get("labels", {}))
    check_duration(kept["messageRetentionDuration"], field="message_retention_duration", low=_TEN_MINUTES, high=_MONTH)
    ttl = kept["expirationPolicy"].get("ttl")
    if ttl is not None and parse_duration(ttl, field="expiration_policy.ttl") < _DAY:
        refuse(f"Invalid expiration_policy.ttl (expiration_policy.ttl={ttl}): must be at least 1 day.")
    _dead_letter(kept)
    _retry(kept)
    check_push_config(kept["pushConfig"])
    return kept


def _dead_letter(kept: Config) -> None:
    policy = kept.get("deadLetterPolicy")
    if not policy:
        kept.pop("deadLetterPolicy", None)
        return
    check_name(policy.get("deadLetterTopic", ""), "topics")
    attempts = policy.get("maxDeliveryAttempts", 0) or _ATTEMPTS[0]
    if not _ATTEMPTS[0] <= attempts <= _ATTEMPTS[1]:
        refuse(
            f"Invalid max_delivery_attempts (max_delivery_attempts={attempts}): must be between {_ATTEMPTS[0]} and {_ATTEMPTS[1]}."
        )
    kept["deadLetterPolicy"] = {**policy, "maxDeliveryAttempts": attempts}


def _retry(kept: Config) -> None:
    policy = kept.get("retryPolicy")
    if policy is None:
        return
    policy = {"minimumBackoff": "10s", "maximumBackoff": "600s", **policy}
    for name in ("minimumBackoff", "maximumBackoff"):
        check_duration(policy[name], field=name, low=timedelta(0), high=_TEN_MINUTES_OF_RETRY)
    if parse_duration(policy["minimumBackoff"], field="") > parse_duration(policy["maximumBackoff"], field=""):
        refuse("Invalid retry_policy: minimum_backoff must not be greater than maximum_backoff.")
    kept["retryPolicy"] = policy


def check_push_config(push: Config) -> None:
    """Raise 400 for an endpoint that is no URL, or a token without its account. Any attributes are accepted."""
    endpoint = push.get("pushEndpoint", "")
    if not endpoint:
        if push.get("oidcToken") or push.get("noWrapper"):
            refuse("Invalid push config: a push_endpoint is required.")
        return
    url = urlsplit(endpoint)
    if url.scheme not in {"http", "https"} or not url.hostname:
        refuse(f"Invalid push endpoint given (endpoint={endpoint}). Refer to the documentation for a valid URL.")
    if "oidcToken" in push and "@" not in push["oidcToken"].get("serviceAccountEmail", ""):
        refuse("Invalid push config: oidc_token.service_account_email must be a service account's email.")


def rules_of(config: Config) -> Rules:
    """Return the delivery rules of a stored subscription."""
    retry = config.get("retryPolicy")
    return Rules(
        ordered=bool(config.get("enableMessageOrdering")),
        retention=parse_duration(config["messageRetentionDuration"], field="message_retention_duration"),
        retain_acked=bool(config.get("retainAckedMessages")),
        max_attempts=config.get("deadLetterPolicy", {}).get("maxDeliveryAttempts", 0),
        retry=None
        if retry is None
        else (
            parse_duration(retry["minimumBackoff"], field="minimum_backoff"),
            parse_duration(retry["maximumBackoff"], field="maximum_backoff"),
        ),
    )


def merged(kind: str, old: Config, new: Config, paths: list[str]) -> Config:
    """Return `old` with the fields of the update mask `paths` (snake case) replaced by those of `new`. `kind` is Topic or Subscription.

    Raise 400 for an empty mask and for a field that is unknown, not mutable or not served.
    """
    known, mutable = (
        (_TOPIC_FIELDS, _TOPIC_MUTABLE) if kind == "Topic" else (_SUBSCRIPTION_FIELDS, _SUBSCRIPTION_MUTABLE)
    )
    request = f"Update{kind}Request"
    if not paths:
        refuse(f"The update_mask in the {request} must be set, and must contain a non-empty paths list.")
    result = {key: dict(value) if isinstance(value, dict) else value for key, value in old.items()}
    for path in paths:
        head, _, inner = path.partition(".")
        if head not in known:
            refuse(
                f"Invalid update_mask provided in the {request}: {path} is not a known {kind} field. "
                "Note that field paths must be of the form 'push_config' rather than 'pushConfig'."
            )
        if camel(head) in _NOT_SERVED:
            raise not_served(f"The embedded cloud does not serve the field {camel(head)}.")
        if head not in mutable:
            refuse(f"Invalid update_mask provided in the {request}: the {head} field in the {kind} is not mutable.")
        target, source, name = (result, new, camel(head)) if not inner else (
            result.setdefault(camel(head), {}), new.get(camel(head), {}), camel(inner)
        )  # fmt: skip
        if name in source:
            target[name] = source[name]
        else:
            target.pop(name, None)
    return result
