"""A user's own Spark clusters: the request (`ClusterWish`), the remembered status (`ClusterStatus`), the observation (`Cluster`)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from msgspec import Struct, field

from shared.domain.things.errors import BenchkeeperError, Reason
from shared.domain.things.identity import UserKey

MAX_CLUSTER_NAME = 51  # [PY: dataproc_v1/types/clusters.py Cluster.cluster_name]
AUTO_ZONE = ""  # no zone named: Dataproc picks a zone that has machines
JUPYTERLAB = "JupyterLab"  # the name under which the Component Gateway reports JupyterLab


class ClusterState(StrEnum):
    """The states of a cluster: Dataproc's `ClusterStatus.State`."""

    UNKNOWN = "UNKNOWN"
    CREATING = "CREATING"
    RUNNING = "RUNNING"
    ERROR = "ERROR"
    ERROR_DUE_TO_UPDATE = "ERROR_DUE_TO_UPDATE"
    DELETING = "DELETING"
    UPDATING = "UPDATING"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"
    STARTING = "STARTING"
    REPAIRING = "REPAIRING"
    SCHEDULED = "SCHEDULED"


FAILED = frozenset({ClusterState.ERROR})
# In these states a cluster accepts and does work [PY: dataproc_v1/types/clusters.py ClusterStatus.State].
USABLE = frozenset({ClusterState.RUNNING, ClusterState.UPDATING, ClusterState.ERROR_DUE_TO_UPDATE})


class Cluster(Struct, frozen=True, kw_only=True):
    """A cluster with the user's label, as it was read.

    `error` is the classified failure if the cluster failed. `ports` are the addresses of the Component Gateway by name.
    `is_ours` is True if the cluster carries our own labels, too.
    """

    name: str
    state: ClusterState
    uuid: str = ""
    zone: str = ""
    error: BenchkeeperError | None = None
    ports: Mapping[str, str] = field(default_factory=dict)
    is_ours: bool = True


class ClusterOperationSeen(Struct, frozen=True, kw_only=True):
    """A cluster operation as it was read: `error` is set if the operation is done and failed, already classified."""

    done: bool
    error: BenchkeeperError | None = None


class ClusterWish(Struct, frozen=True, kw_only=True):
    """A user's request for a cluster of this template, made at `since`."""

    template: str
    since: datetime


class ClusterStatus(Struct, frozen=True, kw_only=True):
    """The remembered status of the cluster of one template: its name, computed once, and its progress.

    `operation` is the name of the create operation, which was requested at `asked_at`. `tried_zones` are the zones that had no
    machines in this round (`AUTO_ZONE` among them). `offered_zones` are the zones that Google then named as available.
    Nothing is created before `not_before`. `seen_running_at` is the first observation of RUNNING after the latest request; if
    the cluster is absent later, Dataproc ended it. `deleting` is True if the deletion was requested. `message` is for people.
    `diagnosis` says why the last cluster is missing, and stays until the next start.
    """

    template: str
    name: str
    uuid: str = ""
    state: ClusterState | None = None
    zone: str = ""
    operation: str = ""
    asked_at: datetime | None = None
    tries: int = 0
    tried_zones: tuple[str, ...] = ()
    offered_zones: tuple[str, ...] = ()
    not_before: datetime | None = None
    seen_running_at: datetime | None = None
    deleting: bool = False
    jupyter_url: str = ""
    reason: Reason = Reason.PENDING
    message: str = ""
    diagnosis: str = ""

    @property
    def is_there(self) -> bool:
        """Return True while any part of the cluster exists or may exist in the cloud."""
        return self.asked_at is not None


def cluster_name(template: str, user_key: UserKey) -> str:
    """Return `<template>-<12 hex of the user key>`: lower case, digits, dashes, a letter first, at most 51 characters.

    If the template's name does not fit this form, it is changed, and eight hex digits of its hash are added, so that the
    clusters of two templates have different names.
    """
    digits = user_key.rpartition("-")[2]
    stem = re.sub(r"[^a-z0-9]+", "-", template.lower()).strip("-")
    stem = stem if stem[:1].isalpha() else f"c-{stem}".rstrip("-")
    room = MAX_CLUSTER_NAME - 1 - len(digits)
    if stem != template or len(stem) > room:
        mark = hashlib.sha256(template.encode()).hexdigest()[:8]
        stem = f"{stem[: room - 9].rstrip('-')}-{mark}"
    return f"{stem}-{digits}"
