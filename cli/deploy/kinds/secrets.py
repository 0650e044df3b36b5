"""The secrets of messages to users: created empty, and readable only by the function `notify`.

An administrator adds the content.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cli.deploy.failures import NotThereError
from cli.deploy.kinds.access import full_role, grant_key, granted, has
from cli.deploy.step import Mark, Step, same
from cli.deploy.target import BENCHKEEPER, OURS, Target

ON = "secrets"  # the scope that such a grant of roles.yaml names
API = "secretmanager.googleapis.com"


def named(target: Target) -> tuple[str, ...]:
    """Return the ids of the secrets that the settings name."""
    chosen = target.deployment.settings.messages
    return tuple(name for name in (chosen.secret, chosen.chat_secret) if name) if chosen is not None else ()


def secrets(target: Target) -> Iterator[Step]:
    """Yield the steps of each secret: the secret, its readers, and a note while it has no content."""
    for name in named(target):
        there = _found(target, name)
        key = f"secret {name}"
        if there:
            yield same(key)
        else:
            words = ("--replication-policy=automatic", f"--labels={OURS}={BENCHKEEPER}")
            work = [("secrets", "create", name, *words)]
            yield Step(
                key=key, mark=Mark.CREATE, because="created empty: an administrator must add the content", work=work
            )
        if not there or not target.read(API, "secrets", "versions", "list", name, otherwise=[]):
            because = f"it is empty; add the content: gcloud secrets versions add {name} --data-file=-"
            yield Step(key=f"content of secret {name}", mark=Mark.KEEP, because=because)
        policy = target.read(API, "secrets", "get-iam-policy", name, otherwise={}) if there else {}
        for grant in target.deployment.grants:
            if grant.on != ON:
                continue
            member, role = target.member(grant.to), full_role(target, grant.role)
            account = target.deployment.accounts[grant.to.partition("/")[2]].id
            yield granted(
                grant_key(grant, on=key), is_there=has(policy, role, member), because="needed to send mails",
                work=("secrets", "add-iam-policy-binding", name, f"--member={member}", f"--role={role}"),
                needs=(key, f"account {account}"), lane=key,
            )  # fmt: skip


def _found(target: Target, name: str) -> Any:
    try:
        return target.read(API, "secrets", "describe", name, otherwise=None)
    except NotThereError:
        return None
