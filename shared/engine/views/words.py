"""The words in which pages show states, causes and reasons. Code keeps enumerations; words are made here, last, and never compared.

For a name that only a newer program knows, `status_words`, `step_words` and `fact_words` return "Other".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from msgspec.structs import replace

from shared.domain.people.entitlement import Cause
from shared.domain.policy.effect import StepKind as Effect
from shared.domain.record.cuts import StepKind as CutStep
from shared.domain.record.record import Power, Presence, RecordRow, UserRecord
from shared.domain.record.status import Condition, ConditionStatus, ConditionType
from shared.domain.things.errors import Reason
from shared.domain.things.history import StoryLine
from shared.domain.things.power import PowerCause

# The status of a notebook, in the words of a badge.
STATUS: Mapping[Reason, str] = {
    Reason.READY: "Running",
    Reason.STOPPED: "Stopped",
    Reason.IDLE: "Stopped, unused",
    Reason.DORMANT: "Saved, unused for long",
    Reason.REMOVED: "Deleted",
    Reason.RETAINED: "Stopped, data kept",
    Reason.SAVED: "Deleted, files saved",
    Reason.REVOKED: "Access ended",
    Reason.ON_HOLD: "Stopped, data on hold",
    Reason.NOT_ENTITLED: "No access",
    Reason.SETTLED: "Up to date",
    Reason.CREATING: "Being created",
    Reason.STARTING: "Starting",
    Reason.STOPPING: "Stopping",
    Reason.DELETING: "Being deleted",
    Reason.UPDATING: "Being changed",
    Reason.WAITING: "Waiting",
    Reason.UPDATE_PENDING: "Running, change at next start",
    Reason.PENDING: "Not started yet",
    Reason.SAVING: "Saving files",
    Reason.RESTORING: "Restoring files",
    Reason.REPLACING: "Being replaced",
    Reason.CLOUD_UNAVAILABLE: "Google Cloud does not answer",
    Reason.RATE_LIMITED: "Rate-limited by Google",
    Reason.QUOTA_EXHAUSTED: "Waiting for quota",
    Reason.STOCKOUT: "Waiting for a machine",
    Reason.CONFLICT: "Trying again",
    Reason.BUSY: "Waiting for Google",
    Reason.UNREADABLE: "Status unknown",
    Reason.OPERATION_FAILED: "Failed, trying again",
    Reason.STUCK: "Delayed",
    Reason.SNAPSHOT_FAILED: "Files not saved",
    Reason.DATA_MISSING: "Files missing",
    Reason.DRIFTED: "Running, changed by hand",
    Reason.NOT_ANSWERING: "JupyterLab does not answer",
    Reason.ACCESS_NOT_CUT: "Access not ended yet",
    Reason.UNKNOWN_ANSWER: "Refused by Google",
    Reason.CLOCK_DIFFERS: "Clock differs",
    Reason.GUARD_WAITS: "Waiting for approval",
    Reason.LIMIT_REACHED: "Waiting for a place",
    Reason.UNEXPECTED: "Failed, trying again",
    Reason.INVALID_MESSAGE: "Message not readable",
    Reason.UNSUPPORTED_MESSAGE: "Message not supported",
    Reason.NOT_ALLOWED: "Source may not say this",
    Reason.KEY_COLLISION: "Two addresses, one key",
    Reason.LEAVER_NOT_UNDERSTOOD: "Leaver not understood",
    Reason.UNKNOWN_TOPIC: "Unknown source",
    Reason.UNKNOWN_PROFILE: "Profile missing",
    Reason.INVALID_SPEC: "Configuration refused by Google",
    Reason.DAMAGED: "Record damaged",
    Reason.WRITTEN_BY_NEWER: "Record from a newer version",
    Reason.NOT_OURS: "Name already taken",
    Reason.ACCESS_DENIED: "Permission missing",
    Reason.ORGANIZATION_POLICY: "Forbidden by your organization",
    Reason.PERIMETER: "Blocked by VPC Service Controls",
    Reason.API_DISABLED: "API not enabled",
    Reason.BILLING_DISABLED: "Billing is off",
    Reason.NOT_SIGNED_IN: "Not signed in",
    Reason.REFUSED: "Refused",
    Reason.UNKNOWN_LEAVER: "Unknown leaver",
    Reason.DELIVERY_ATTEMPTS_EXHAUSTED: "Delivery failed",
}
_STATUS = {reason.value: text for reason, text in STATUS.items()}
_OTHER = "Other"
_NOTEBOOK = "Notebook"
_ABOUT = {"Data": "Files", "Identity": "Service account"}
_IN_ORDER: Mapping[str, str] = {Reason.READY.value: "In order", Reason.SETTLED.value: STATUS[Reason.SETTLED]}
_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_SOURCES = {"hr": "by HR", "directory": "by the directory", "operator": "by an operator"}
_SOURCE = re.compile(r"^source (hr|directory|operator)(?=$|;)")
_BY_PERSON = re.compile(r"\bby the person\b")
_NAME = re.compile(
    r"\b[A-Z][a-z]+(?:[A-Z][a-z]+)+\b|(?<=: )[A-Z][a-z]+(?=\.(?:\s|$))"
)  # AccessDenied; `failed: Stockout.`

# The cause of access, or of its end. A group or a profile follows where there is one.
CAUSES: Mapping[Cause, str] = {
    Cause.UNKNOWN: "Not recorded",
    Cause.LEFT: "Left the company",
    Cause.BLOCKED: "Ended by an operator",
    Cause.ACCESS_ENDED: "Access ended by date",
    Cause.ACCOUNT_SUSPENDED: "Google account suspended",
    Cause.ACCOUNT_ARCHIVED: "Google account archived",
    Cause.ACCOUNT_DELETED: "Google account deleted",
    Cause.ACCOUNT_DISABLED: "Google account disabled by Google",
    Cause.ACCOUNT_UNUSABLE: "Google account suspended or deleted",
    Cause.ADDRESS_WAITS: "Address waits to be confirmed",
    Cause.NO_GROUP: "In no group with access",
    Cause.NO_PROFILE: "No profile",
    Cause.UNKNOWN_PROFILE: "Profile missing",
    Cause.REQUEST: "Requested by name",
    Cause.DEFAULT: "HR, default profile",
    Cause.GROUP: "Group",
    Cause.KEPT_IN: "Kept by an administrator",
    Cause.CUT_WAITS: "End of access waits",
}

# What a change does to one person: a cut, or a configuration.
STEPS: Mapping[str, str] = {
    CutStep.STOP: "notebook stopped",
    CutStep.REVOKE: "service account disabled",
    CutStep.END_CLUSTERS: "Spark clusters deleted",
    CutStep.CREATE: "notebook created",
    "NewAddress": "new address",
    "Joined": "one person, two addresses",
    "Released": "hold released",
    Effect.LOSES_ACCESS: "loses access",
    Effect.GAINS_ACCESS: "gains access",
    Effect.CHANGES_PROFILE: "another profile",
    Effect.REPLACED: "notebook replaced, files kept",
    Effect.UPDATED: "notebook stopped for a change",
    Effect.PATCHED: "notebook changed while it runs",
    Effect.DISK: "another disk",
    Effect.TEMPLATES: "other Spark templates",
    Effect.CLUSTERS_END: "Spark clusters deleted",
    Effect.DATA_ROLES: "other data to read",
    Effect.IDLE_SOONER: "idle sooner",
    Effect.DELETED_SOONER: "notebook deleted sooner",
    Effect.DATA_DELETED_SOONER: "files deleted sooner",
}


def status_words(reason: str) -> str:
    """Return the status of a notebook, by the value of its reason."""
    return _STATUS.get(reason, _OTHER)


def states_named(text: str) -> frozenset[str]:
    """Return the values of all reasons whose value or badge text equals the search text. Case is ignored."""
    asked = " ".join(text.split()).casefold()
    return frozenset(value for value, said in _STATUS.items() if asked in {value.casefold(), said.casefold()})


def in_words(text: str) -> str:
    """Return a sentence of the engine with words instead of names.

    `Spark sessions: AccessDenied` becomes `Spark sessions: Permission missing`.

    A name that is an English word (`Ready`) stays, because a sentence may mean the word.
    """
    return _NAME.sub(lambda found: _STATUS.get(found[0], found[0]), text)


def step_words(step: str) -> str:
    """Return the effect of a change on one person in words, for the value of a `StepKind`."""
    return STEPS.get(step, _OTHER)


def line_words(text: str) -> str:
    """Return the text of a history line about a condition in words: `Notebook: Stockout` as `Notebook: Waiting for a machine`.

    Any other text stays as it is.
    """
    about, colon, reason = text.partition(": ")
    if not colon or reason not in _STATUS:
        return text
    if about == _NOTEBOOK:
        return f"{about}: {_STATUS[reason]}"
    return f"{_ABOUT.get(about, about)}: {_CAPITAL.sub(' ', reason).capitalize()}"


def line_in_words(line: StoryLine) -> StoryLine:
    """Return a line of the history with words instead of the names of states and reasons."""
    return replace(line, text=line_words(line.text), because=because_words(line.because))


def because_words(text: str) -> str:
    """Return the reason for an event in words: `source hr` becomes `by HR`. The name of any other source is kept."""
    return _SOURCE.sub(lambda found: _SOURCES[found[1]], in_words(text))


def access_words(row: RecordRow) -> str:
    """Return the origin of the user's access, or of its end: the group's address, or the cause."""
    if row.entitled_by and row.cause in {Cause.GROUP, Cause.UNKNOWN}:
        return row.entitled_by
    return CAUSES[row.cause]


def exception_words(row: RecordRow) -> str:
    """Return the reasons why the user is an exception to the rules, as one text; "" if there are none."""
    return "; ".join(exceptions(row))


def exceptions(row: RecordRow) -> tuple[str, ...]:
    """Return each reason why the user is an exception to the rules."""
    found = [
        f"Profile {row.profile or 'none'} requested by name" if row.cause is Cause.REQUEST else "",
        "End of access marked as a mistake" if row.cause is Cause.KEPT_IN else "",
        f"Data on hold: {row.hold_reason}" if row.hold_reason else "Data on hold" if row.on_hold else "",
    ]
    return tuple(each for each in found if each)


def sold_out_words(zone: str, since: str, people: int) -> str:
    """Return the sentence about a zone without machines; `since` is a time in words, or empty."""
    when = f" since {since}" if since else ""
    return f"{zone} sold out{when}, {people:,} {'person waits' if people == 1 else 'people wait'}."


def day_words(day: datetime) -> str:
    """Return a day as `Sat 28 Nov`."""
    return f"{day:%a} {day.day} {day:%b}"


# ---- one person's page

NOTEBOOK: Mapping[str, str] = {
    "STATE_UNSPECIFIED": "state not given",
    "STARTING": "starting",
    "PROVISIONING": "being created",
    "ACTIVE": "running",
    "STOPPING": "stopping",
    "STOPPED": "stopped",
    "DELETED": "deleted",
    "UPGRADING": "being upgraded",
    "INITIALIZING": "being created",
    "SUSPENDING": "being suspended",
    "SUSPENDED": "suspended",
    "ABSENT": "no notebook",
    "NONE": "no notebook",
    "UNREADABLE": "not known",
}
CLUSTER: Mapping[str, str] = {
    "UNKNOWN": "Not known",
    "CREATING": "Being created",
    "RUNNING": "Running",
    "ERROR": "Failed",
    "ERROR_DUE_TO_UPDATE": "Failed",
    "DELETING": "Being deleted",
    "UPDATING": "Being changed",
    "STOPPING": "Stopping",
    "STOPPED": "Stopped",
    "STARTING": "Starting",
    "REPAIRING": "Being repaired",
    "SCHEDULED": "Waiting",
    "wanted": "Requested",
    "not there": "Ended",
}
CONDITIONS: Mapping[ConditionType, str] = {
    ConditionType.NOTEBOOK_READY: "Notebook",
    ConditionType.TEMPLATES_READY: "Spark templates",
    ConditionType.IDENTITY_READY: "Service account",
    ConditionType.DATA_SAVED: "Files saved",
    ConditionType.CLUSTERS_READY: "Spark clusters",
    ConditionType.CLUSTERS_REMOVED: "Spark clusters deleted",
    ConditionType.SESSIONS_ENDED: "Spark sessions ended",
    ConditionType.COPIES_KEPT: "Daily copies",
    ConditionType.RECONCILED: "Last check",
    ConditionType.NEWS_UNDERSTOOD: "Messages",
}
HOLDS: Mapping[ConditionStatus, str] = {
    ConditionStatus.TRUE: "Yes",
    ConditionStatus.FALSE: "No",
    ConditionStatus.UNKNOWN: "Not known",
}
# Reasons with which a part that is not there, or does not run, is as it should be.
_AS_WANTED = frozenset([
    Reason.STOPPED, Reason.IDLE, Reason.DORMANT, Reason.REMOVED, Reason.RETAINED, Reason.SAVED, Reason.REVOKED, Reason.ON_HOLD,
    Reason.NOT_ENTITLED, Reason.SETTLED,
])  # fmt: skip
POWER: Mapping[PowerCause, str] = {
    PowerCause.UNKNOWN: "",
    PowerCause.JOINED: "since access was granted",
    PowerCause.NOT_ENTITLED: "since access ended",
    PowerCause.STARTED_BY_PERSON: "started by the person",
    PowerCause.STOPPED_BY_PERSON: "stopped by the person",
    PowerCause.STARTED_AHEAD: "started before working hours",
    PowerCause.STARTED_BY_ADMINISTRATOR: "started by an administrator",
    PowerCause.STOPPED_BY_ADMINISTRATOR: "stopped by an administrator",
    PowerCause.STARTED_OUTSIDE: "started outside Benchkeeper",
    PowerCause.STOPPED_OUTSIDE: "stopped outside Benchkeeper",
    PowerCause.IDLE: "stopped unused",
    PowerCause.UNSEEN: "stopped without usage data",
    PowerCause.OTHER: "",
}
_ATTRIBUTES = {
    "cost_center": "Cost centre",
    "department": "Department",
    "manager": "Manager",
    "time_zone": "Time zone",
    "language": "Language",
}
_FACTS = {
    "employment": "Employment (HR)",
    "roster": "Listed by HR",
    "suspended": "Account suspended",
    "archived": "Account archived",
    "deleted": "Account deleted",
    "disabled": "Account disabled",
    "account": "Account state",
    "request": "Profile by name",
    "default": "Default profile",
    "access_until": "Access until",
    "person_id": "Person number",
    "blocked": "Access ended by an operator",
}


def fact_words(name: str) -> str:
    """Return the words for a fact. For a group or an attribute, they include its own name."""
    kind, _, rest = name.partition(":")
    if kind == "attribute" and rest in _ATTRIBUTES:
        return _ATTRIBUTES[rest]
    if rest:
        return f"{'Member of' if kind == 'group' else 'Attribute'} {rest}"
    return _FACTS.get(name, _OTHER)


def is_in_order(status: str, reason: str) -> ConditionStatus:
    """Return the status of a condition as pages show it. A part that is missing or stopped on purpose counts as True."""
    known = ConditionStatus(status)
    return ConditionStatus.TRUE if known is ConditionStatus.FALSE and reason in _AS_WANTED else known


def owner_words(text: str) -> str:
    """Return a text of the history as shown to its own user: `stopped by the person` becomes `stopped by you`."""
    return _BY_PERSON.sub("by you", text)


def reason_words(condition: Condition) -> str:
    """Return the reason of a condition.

    For conditions other than the notebook's, `Ready` means that the aspect is in order.
    """
    return reason_words_of(condition.type, condition.reason)


def reason_words_of(condition: str, reason: str) -> str:
    """Return the words for the reason of a condition. Type and reason are given by their values."""
    if condition == ConditionType.NOTEBOOK_READY:
        return status_words(reason)
    return _IN_ORDER.get(reason) or _CAPITAL.sub(" ", reason).capitalize()


def target_words(record: UserRecord) -> str:
    """Return the wanted state of the notebook with its reason: `running, since access was granted`."""
    wanted, reason = record.spec.power, record.spec.power_reason
    if record.spec.presence is Presence.ABSENT:
        return "no notebook"
    why = POWER[reason.cause] or reason.words
    return f"{'running' if wanted is Power.RUNNING else 'stopped'}{f', {why}' if why else ''}"
