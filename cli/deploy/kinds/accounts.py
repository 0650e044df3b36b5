"""The service accounts and custom roles of Benchkeeper."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from cli.deploy.gcloud import FileWord
from cli.deploy.models import RoleModel
from cli.deploy.step import Mark, Step, same
from cli.deploy.target import Target

_IAM = "iam.googleapis.com"


def accounts(target: Target) -> Iterator[Step]:
    """Yield a step for each service account."""
    listed = target.read(_IAM, "iam", "service-accounts", "list", otherwise=[])
    seen = {each["email"]: each for each in listed}
    for key, wanted in target.deployment.wanted(target.deployment.accounts).items():
        email, step = target.account(key), f"account {wanted.id}"
        words = (f"--display-name={wanted.title}", f"--description={wanted.purpose}")
        found = seen.get(email)
        if found is None:
            work: list[tuple[str, ...]] = [("iam", "service-accounts", "create", wanted.id, *words)]
            yield Step(key=step, mark=Mark.CREATE, because=wanted.purpose, work=work)
            continue
        work, why = [], []
        if (found.get("displayName"), found.get("description")) != (wanted.title, wanted.purpose):
            work.append(("iam", "service-accounts", "update", email, *words))
            why.append("its description differs")
        if found.get("disabled"):
            work.append(("iam", "service-accounts", "enable", email))
            why.append("it is disabled")
        yield Step(key=step, mark=Mark.CHANGE, because=", ".join(why), work=work) if work else same(step)


def roles(target: Target) -> Iterator[Step]:
    """Yield a step for each custom role; a deleted role is restored."""
    listed = target.read(_IAM, "iam", "roles", "list", "--show-deleted", otherwise=[])
    seen = {each["name"].rsplit("/", 1)[1]: each for each in listed}
    for name, wanted in target.deployment.roles.items():
        step = f"role {name}"
        file = FileWord("--file", _body(wanted))
        if name not in seen:
            because = f"{len(wanted.permissions)} permissions"
            yield Step(key=step, mark=Mark.CREATE, because=because, work=[("iam", "roles", "create", name, file)])
        elif seen[name].get("deleted"):
            undo = [("iam", "roles", "undelete", name), ("iam", "roles", "update", name, file)]
            yield Step(key=step, mark=Mark.CHANGE, because="it was deleted", work=undo)
        else:
            found = target.read(_IAM, "iam", "roles", "describe", name, otherwise={})
            why = _difference(wanted, found)
            change = [("iam", "roles", "update", name, file)]
            yield Step(key=step, mark=Mark.CHANGE, because=why, work=change) if why else same(step)


def _body(role: RoleModel) -> str:
    return json.dumps(
        {
            "title": role.title,
            "description": role.description,
            "includedPermissions": sorted(role.permissions),
            "stage": "GA",
        }
    )


def _difference(wanted: RoleModel, found: dict[str, Any]) -> str:
    has, needs = set(found.get("includedPermissions", [])), set(wanted.permissions)
    why = [
        *(f"lacks {each}" for each in sorted(needs - has)),
        *(f"has {each} too many" for each in sorted(has - needs)),
    ]
    if (found.get("title"), found.get("description")) != (wanted.title, wanted.description):
        why.append("its description differs")
    return ", ".join(why)
