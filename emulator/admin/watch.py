"""The configuration of Cloud Monitoring: dashboards (v1), alert policies and notification channels (v3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from emulator.admin.functions_rules import check_labels
from emulator.admin.ground import Ask, Ground, Handler, Json
from emulator.admin.logs import Logs
from emulator.errors import ApiError
from emulator.model.filters import fields_filter, labels_of

_LAYOUTS = {"gridLayout", "mosaicLayout", "rowLayout", "columnLayout"}
_CONDITIONS = {
    "conditionThreshold", "conditionAbsent", "conditionMatchedLog", "conditionMonitoringQueryLanguage",
    "conditionPrometheusQueryLanguage", "conditionSql",
}  # fmt: skip
_WITH_DURATION = {"conditionThreshold", "conditionAbsent"}
_MOST_CONDITIONS = 6
_MOST_COLUMNS = 48
_CHANNEL_LABELS = {"email": {"email_address"}, "pubsub": {"topic"}, "slack": {"channel_name"}, "pagerduty": {"service_key"},
                   "webhook_tokenauth": {"url"}, "webhook_basicauth": {"url"}, "sms": {"number"}, "google_chat": {"space"}}  # fmt: skip
_USER_METRIC = re.compile(r'metric\.type\s*=\s*"logging\.googleapis\.com/user/(?P<name>[^"]+)"')


class Watch:
    """A service with dashboards, alert policies and notification channels, each stored by full name."""

    def __init__(self, ground: Ground, logs: Logs) -> None:
        self._ground = ground
        self._logs = logs
        self.dashboards: dict[str, Json] = {}
        self.alerts: dict[str, Json] = {}
        self.channels: dict[str, Json] = {}

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by method id."""
        boards, alerts, channels = (
            f"monitoring.projects.{part}" for part in ("dashboards", "alertPolicies", "notificationChannels")
        )
        return {
            f"{boards}.create": self.create_dashboard,
            f"{boards}.get": lambda ask: _find(self.dashboards, self._board(ask)),
            f"{boards}.list": lambda ask: _page("dashboards", self.dashboards, ask),
            f"{boards}.patch": self.patch_dashboard,
            f"{boards}.delete": self.delete_dashboard,
            f"{alerts}.create": self.create_alert,
            f"{alerts}.get": lambda ask: _find(self.alerts, ask.of("name")),
            f"{alerts}.list": lambda ask: _page("alertPolicies", self.alerts, ask),
            f"{alerts}.patch": self.patch_alert,
            f"{alerts}.delete": lambda ask: _remove(self.alerts, ask.of("name")),
            f"{channels}.create": self.create_channel,
            f"{channels}.get": lambda ask: _find(self.channels, ask.of("name")),
            f"{channels}.list": lambda ask: _page("notificationChannels", self.channels, ask),
            f"{channels}.patch": self.patch_channel,
            f"{channels}.delete": self.delete_channel,
        }

    # ---- dashboards

    def _board(self, ask: Ask) -> str:
        """Return the dashboard's full name, in which the project is always named by its number."""
        return f"projects/{self._ground.number}/dashboards/{ask.of('name', 'dashboardsId').rpartition('/')[2]}"

    def create_dashboard(self, ask: Ask) -> Json:
        """Answer `dashboards.create`."""
        _check_dashboard(ask.body)
        given = str(ask.body.get("name", "")).rpartition("/")[2]
        name = f"projects/{self._ground.number}/dashboards/{given or f'{self._ground.next_id():08x}-7c5e-4b1a'}"
        if name in self.dashboards:
            raise ApiError("ALREADY_EXISTS", f"Dashboard {name} already exists.")
        made = {**ask.body, "name": name, "etag": f"{self._ground.next_id():032x}"}
        if ask.query.get("validateOnly") not in ("true", "True"):
            self.dashboards[name] = made
        return made

    def patch_dashboard(self, ask: Ask) -> Json:
        """Answer `dashboards.patch`: replace the whole dashboard; a stale etag is a conflict."""
        name = self._board(ask)
        old = _find(self.dashboards, name)
        _check_dashboard(ask.body)
        if ask.body.get("etag") and ask.body["etag"] != old["etag"]:
            raise ApiError("ABORTED", "The dashboard was modified by someone else: its etag does not match.")
        self.dashboards[name] = {**ask.body, "name": name, "etag": f"{self._ground.next_id():032x}"}
        return self.dashboards[name]

    def delete_dashboard(self, ask: Ask) -> Json:
        """Answer `dashboards.delete`."""
        return _remove(self.dashboards, self._board(ask))

    # ---- alert policies

    def create_alert(self, ask: Ask) -> Json:
        """Answer `alertPolicies.create`."""
        name = f"projects/{self._ground.project}/alertPolicies/{10**18 + self._ground.next_id()}"
        self.alerts[name] = self._alert(name, ask.body) | {"creationRecord": {"mutateTime": self._ground.now()}}
        return self.alerts[name]

    def patch_alert(self, ask: Ask) -> Json:
        """Answer `alertPolicies.patch` for the fields of the mask; without a mask, all fields."""
        name = ask.of("name")
        old = _find(self.alerts, name)
        self.alerts[name] = self._alert(name, _masked(old, ask)) | {"creationRecord": old["creationRecord"]}
        return self.alerts[name]

    def _alert(self, name: str, body: Json) -> Json:
        conditions = [dict(condition) for condition in body.get("conditions", [])]
        if not body.get("displayName") or not body.get("combiner"):
            raise ApiError("INVALID_ARGUMENT", "Field alert_policy.display_name and alert_policy.combiner are needed.")
        if not 0 < len(conditions) <= _MOST_CONDITIONS:
            raise ApiError(
                "INVALID_ARGUMENT", f"A policy has 1 to {_MOST_CONDITIONS} conditions, not {len(conditions)}."
            )
        check_labels(body.get("userLabels", {}))
        for condition in conditions:
            self._check_condition(condition)
            condition.setdefault("name", f"{name}/conditions/{10**18 + self._ground.next_id()}")
        for channel in body.get("notificationChannels", []):
            _find(self.channels, self._ground.canonical(channel))
        record = {"mutateTime": self._ground.now()}
        return {"enabled": True, **body, "name": name, "conditions": conditions, "mutationRecord": record}

    def _check_condition(self, condition: Json) -> None:
        kinds = _CONDITIONS & set(condition)
        if len(kinds) != 1 or not condition.get("displayName"):
            raise ApiError("INVALID_ARGUMENT", "A condition has a display name and one kind of condition.")
        kind = kinds.pop()
        rule = condition[kind]
        text = str(rule.get("filter", ""))
        if kind not in _WITH_DURATION:
            return
        seconds = str(rule.get("duration", "")).removesuffix("s")
        if not seconds.isdigit() or int(seconds) % 60:
            raise ApiError(
                "INVALID_ARGUMENT",
                f"Field duration had an invalid value of {rule.get('duration')!r}: minutes are needed.",
            )
        if not re.search(r"metric\.type\s*=", text):
            raise ApiError(
                "INVALID_ARGUMENT", 'Field filter: must specify a restriction on "metric.type" in the filter.'
            )
        if not re.search(r"resource\.type\s*=", text):
            raise ApiError(
                "INVALID_ARGUMENT", 'Field filter: must specify a restriction on "resource.type" in the filter.'
            )
        for found in _USER_METRIC.finditer(text):
            if found["name"] not in self._logs.metrics:
                raise ApiError(
                    "NOT_FOUND",
                    f'Cannot find metric that matches type = "logging.googleapis.com/user/{found["name"]}". If a metric was '
                    "created recently, it could take up to 10 minutes to become available. Please try again soon.",
                )
        if kind == "conditionThreshold" and not rule.get("comparison"):
            raise ApiError("INVALID_ARGUMENT", "Field comparison is needed.")

    # ---- notification channels

    def create_channel(self, ask: Ask) -> Json:
        """Answer `notificationChannels.create`."""
        name = f"projects/{self._ground.project}/notificationChannels/{10**18 + self._ground.next_id()}"
        self.channels[name] = self._channel(name, ask.body)
        return self.channels[name]

    def patch_channel(self, ask: Ask) -> Json:
        """Answer `notificationChannels.patch`."""
        name = ask.of("name")
        self.channels[name] = self._channel(name, _masked(_find(self.channels, name), ask))
        return self.channels[name]

    def _channel(self, name: str, body: Json) -> Json:
        needed = _CHANNEL_LABELS.get(str(body.get("type")))
        if needed is None or not needed <= set(body.get("labels", {})):
            raise ApiError("INVALID_ARGUMENT", f"Channel type {body.get('type')!r} with labels {sorted(body.get('labels', {}))} is not known.")  # fmt: skip
        check_labels(body.get("userLabels", {}))
        return {"enabled": True, **body, "name": name}

    def delete_channel(self, ask: Ask) -> Json:
        """Answer `notificationChannels.delete`. A channel in use needs `force`, which removes it from the policies."""
        name = ask.of("name")
        _find(self.channels, name)
        users = [alert for alert in self.alerts.values() if name in alert.get("notificationChannels", [])]
        if users and ask.query.get("force") not in ("true", "True"):
            raise ApiError(
                "FAILED_PRECONDITION", f"Cannot delete notification channel {name}: it is used by {users[0]['name']}."
            )
        for alert in users:
            alert["notificationChannels"].remove(name)
        return _remove(self.channels, name)


def _find(kept: dict[str, Json], name: str) -> Json:
    if name not in kept:
        raise ApiError("NOT_FOUND", f"Could not find {name}.")
    return kept[name]


def _remove(kept: dict[str, Json], name: str) -> Json:
    _find(kept, name)
    del kept[name]
    return {}


def _masked(old: Json, ask: Ask) -> Json:
    """Return the body or, with a mask, `old` with the mask's top-level fields taken from the body."""
    mask = ask.query.get("updateMask")
    if not mask:
        return ask.body
    paths = {re.sub(r"_([a-z])", lambda m: m[1].upper(), part.partition(".")[0]) for part in mask.split(",")}
    kept = {key: value for key, value in old.items() if key not in paths}
    return kept | {key: value for key, value in ask.body.items() if key in paths}


def _page(name: str, kept: dict[str, Json], ask: Ask) -> Json:
    """Return a filtered list. Only `user_labels.x="y"`, `display_name` and `type`, joined by AND, are supported; others are refused."""
    passes = fields_filter(ask.query.get("filter", ""), ("display_name", "type", "user_labels."), _fields)
    rows = [row for _, row in sorted(kept.items()) if passes(row)]
    return {name: rows} if rows else {}


def _fields(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **labels_of(row, "userLabels", "user_labels."),
        "display_name": row.get("displayName"),
        "type": row.get("type"),
    }


def _check_dashboard(body: Json) -> None:
    layouts = _LAYOUTS & set(body)
    if not body.get("displayName") or len(layouts) != 1:
        raise ApiError("INVALID_ARGUMENT", "A dashboard has a display name and one layout.")
    mosaic = body.get("mosaicLayout")
    if mosaic is None:
        return
    columns, taken = int(mosaic.get("columns", 0)), set[tuple[int, int]]()
    if not 0 < columns <= _MOST_COLUMNS:
        raise ApiError("INVALID_ARGUMENT", f"Field mosaicLayout.columns must be between 1 and {_MOST_COLUMNS}.")
    for index, tile in enumerate(mosaic.get("tiles", [])):
        x, y, width, height = (int(tile.get(key, 0)) for key in ("xPos", "yPos", "width", "height"))
        cells = {(across, down) for across in range(x, x + width) for down in range(y, y + height)}
        if not cells or x + width > columns or cells & taken:
            raise ApiError(
                "INVALID_ARGUMENT",
                f"Field mosaicLayout.tiles[{index}]: it is empty, too wide, or overlaps another tile.",
            )
        taken |= cells
