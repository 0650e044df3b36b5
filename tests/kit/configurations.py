"""Configurations that an administrator might write, drawn with a seed: each key is there now and then, with any value that is valid."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from kit.inprocess import ROOT

Make = Callable[[random.Random], Any]
_TEMPLATES = ("single-node", "large-cluster", "personal-auth-cluster")
_SESSION = "serverless-spark"
_ZONES = tuple(f"europe-west1-{letter}" for letter in "bcd")


def _one(*values: Any) -> Make:
    return lambda draw: draw.choice(values)


def _some(*values: Any, least: int = 0) -> Make:
    return lambda draw: draw.sample(values, draw.randint(least, len(values)))


def _number(least: int, most: int) -> Make:
    return lambda draw: draw.randint(least, most)


def _share(draw: random.Random) -> float:
    return round(draw.uniform(0.01, 1), 3)


def _section(keys: dict[str, Make], *always: str) -> Make:
    def make(draw: random.Random) -> dict[str, Any]:
        names = [name for name in keys if name in always or draw.random() < 0.5]
        draw.shuffle(names)
        return {name: keys[name](draw) for name in names}

    return make


_DURATIONS = _one("1800s", "45m", "2h", "24h", "1d")
_DISK = _section({"size_gb": _number(10, 2000), "type": _one("PD_SSD", "PD_BALANCED", "HYPERDISK_BALANCED")}, "size_gb")
_WINDOW = _section(
    {
        "days": _some("mon", "tue", "sun", least=1), "start": _one("00:00", "22:30", "23:59"), "hours": _number(1, 24),
        "time_zone": _one("UTC", "Europe/Berlin", "America/St_Johns"),
    }, "days", "start", "hours",
)  # fmt: skip
_HOURS = _section(
    {
        "days": _some("mon", "tue", "sun", least=1), "start": _one("00:00", "08:30"), "end": _one("08:31", "23:59"),
        "time_zone": _one("UTC", "Europe/Berlin", "America/St_Johns"),
    }, "days", "start", "end",
)  # fmt: skip
_PROFILE = _section(
    {
        "title": _one("Analyst", " Données ", "Ingénierie"),
        "machine_type": _one("e2-standard-4", "n2-highmem-8"),
        "image": _one({"family": "workbench-instances"}, {"name": "image-7", "project": "my-images"}),
        "boot_disk": _DISK,
        "data_disk": _DISK,
        "accelerator": _one(None, {"type": "NVIDIA_TESLA_T4"}, {"type": "NVIDIA_L4", "count": 2}),
        "shielded": _section({"secure_boot": _one(True, False), "vtpm": _one(True, False), "integrity_monitoring": _one(True, False)}),
        "idle": _section(
            {"timeout": _one("10m", "90m", "3h"), "max_blind": _DURATIONS, "max_busy": _DURATIONS, "cores_busy_at": _share,
             "max_keep_on": _one("45m", "2h", "20h"), "dormant_after": _one("30d", "90d")}
        ),
        "labels": _one({}, {"team": "data"}, {"team": "data", "stage": "prod_1"}),
        "metadata": _one({}, {"notebook-disable-root": "true"}),
        "tags": _some("iap", "notebook"),
        "templates": _some(*_TEMPLATES),
        "session_templates": _one([], [_SESSION]),
        "spark": _section({"max_clusters": _number(0, 20), "max_vcpus": _number(1, 10_000)}),
        "hourly_cost": _one(None, 0, 1, 0.25),
        "snapshots": _section({"keep": _number(1, 60)}),
        "hours": _HOURS,
    },
    "title", "machine_type",
)  # fmt: skip
_RETENTION = _one(
    {}, {"instance": "7d"}, {"instance": "60d", "snapshot": "60d"}, {"snapshot": "200d", "personal_data": "400d"},
    {"allow_short": True, "instance": "1s", "snapshot": "2m", "personal_data": "3 h"},
)  # fmt: skip
_GUARD = _section(
    {
        "per_hour": _number(1, 100), "share": _share, "most": _number(100, 500), "group_share": _share, "group_from": _number(2, 50),
        "day_factor": _number(1, 24), "patience": _one("never", "15m", "4h"), "approvers": _number(1, 2),
        "creations": _number(1, 1000), "urgent": _number(0, 50), "approval_lapses": _DURATIONS, "wait_alone": _DURATIONS,
    }
)  # fmt: skip
_SETTINGS = _section(
    {
        "project": _one("acme-analytics", "benchkeeper-7"),
        "zones": _some(*_ZONES, least=1),
        "bucket": _one("acme-benchkeeper", "b.e-n_ch"),
        "buckets": _section({"inbox": _one(None, "acme-in"), "letters": _one("acme-letters"), "audit": _one(None, "acme-audit")}),
        "network": _one({}, {"network": "projects/p/global/networks/n"}, {"subnet": "projects/p/regions/r/subnetworks/s"}),
        "topics": _section({"tick": _one("tick"), "dead_letter": _one("letters"), "notifications": _one("news")}),
        "retention": _RETENTION,
        "limits": _section({"message_bytes": _number(1024, 10_000_000)}),
        "people": _section(
            {
                "domains": _one(["Acme.com"], ["acme.com", "example.org"]), "alias_domains": _one({}, {"Acme.co.uk": "acme.com"}),
                "time_zone": _one("UTC", "Asia/Kolkata"),
            }, "domains",
        ),
        "deployment": _section(
            {"organization": _one("123456789012"), "notify": _one(["On-Call@acme.com"]), "hub_access": _one(["domain:acme.com"])}
        ),
        "hub": _section(
            {"admin_group": _one(None, "Hub-Admins@acme.com"), "operator_group": _one(None, "Ops@acme.com"), "help_desk_group": _one(None, "Help@acme.com"), "auditor_group": _one(None, "Audit@acme.com"), "contact": _one("", "the data desk"), "currency": _one("EUR", "USD")}
        ),
        "guard": _GUARD,
        "idle": _section({"bigquery_projects": _some("acme-analytics", "acme-sandbox")}),
        "roster": _section({"groups": _one(True, False), "employees": _one(True, False)}),
        "messages": _section(
            {
                "from": _one("Notebooks@acme.com"), "page": _one("https://notebooks.acme.com/"), "language": _one("en", "de"),
                "smtp": _section(
                    {
                        "host": _one("smtp.acme.com"), "port": _one(587, 465, 2525), "security": _one("starttls", "tls"),
                        "user": _one("", "robot"), "secret": _one("mail-password"),
                    }, "host",
                ),
                "chat": _section({"secret": _one("room")}, "secret"), "about_leavers": _one([], ["Boss@acme.com"]),
            }, "from", "page", "smtp",
        ),
    },
    "project", "zones", "bucket", "people",
)  # fmt: skip
_SOURCE = _section(
    {
        "shapes": _some("neutral", "google-logs"), "may_state": _some("employment", "groups", "profile", "urgent"),
        "profiles": _one("all", [], ["analyst"]), "domains": _one("all", ["acme.com"]), "joiners": _one("confirm", "events"),
        "aliases": _one({}, {"contract_end_date": "access_until"}),
    }
)  # fmt: skip


def _a_profile(draw: random.Random) -> dict[str, Any]:
    """A profile, with keys that only go together."""
    made: dict[str, Any] = _PROFILE(draw)
    made["disruption"] = draw.choice(("now", "when-idle", "window"))
    if made["disruption"] == "window":
        made["maintenance_window"] = _WINDOW(draw)
    if draw.random() < 0.5:
        made["identity"] = "personal-service-account"
        made["data_group"] = "Scientists@acme.com"
        made["reporter"] = draw.choice(("", "gs://scripts-of-acme/reporter.py"))
        made["data_roles"] = draw.sample(
            ["roles/bigquery.dataViewer", "roles/storage.objectViewer"], draw.randint(0, 2)
        )
    elif draw.random() < 0.5:
        made.setdefault("spark", {})["identity"] = draw.choice(("personal-auth", "personal-service-account"))
    return made


def profiles(draw: random.Random) -> dict[str, Any]:
    """What config/profiles.yaml may say."""
    names = ["analyst", *draw.sample(["engineer", "gpu-1", "x"], draw.randint(0, 3))]
    groups = draw.sample(["a@acme.com", "B@acme.com", "é@acme.com"], draw.randint(0, 3))
    return {
        "default": draw.choice((None, "analyst")),
        "assignments": [
            {
                "group": group,
                "profile": draw.choice(names),
                **({"priority": draw.randint(-5, 5)} if draw.random() < 0.5 else {}),
                **draw.choice(
                    ({}, {"limits": {"max_environments": draw.randint(1, 40)}}, {"limits": {"max_monthly_cost": 99.5}})
                ),
            }
            for group in groups
        ],
        "profiles": {name: _a_profile(draw) for name in names},
        "environments": {
            name: {"title": f"The {name}", **draw.choice(({}, {"description": "Long.", "hourly_cost": 2}))}
            for name in draw.sample([*_TEMPLATES, _SESSION], draw.randint(0, 4))
        },
        **draw.choice(
            ({}, {"prices": {"disk_gb_month": {"PD_SSD": 0.187, "PD_BALANCED": 1}, "snapshot_gb_month": 0.05}})
        ),
    }


def sources(draw: random.Random) -> dict[str, Any]:
    """What config/sources.yaml may say."""
    names = ["hr", "directory", "operator", *draw.sample(["payroll", "contractors"], draw.randint(0, 2))]
    made = {name: {"topic": f"topic-{name}", **_SOURCE(draw)} for name in names}
    return {"sources": {**made, "wake": {"topic": "topic-wake"}}}


def write(folder: Path, seed: int) -> Path:
    """Write the configuration of a seed, environment `drawn`, and return its folder."""
    draw = random.Random(seed)  # noqa: S311 - a seed, no secret
    folder.mkdir(parents=True)
    contents = {"settings.drawn.yaml": _SETTINGS(draw), "profiles.yaml": profiles(draw)}
    if draw.random() < 0.7:
        contents["sources.yaml"] = sources(draw)
    for name, content in contents.items():
        (folder / name).write_text(
            yaml.dump(content, Dumper=yaml.CSafeDumper, allow_unicode=True, sort_keys=False), encoding="utf-8"
        )
    shutil.copytree(ROOT / "config" / "templates", folder / "templates")
    return folder
