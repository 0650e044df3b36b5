"""An assigned group that entitles nobody is named, and a refused look is not taken for absence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from cli.groups import GroupFault, NotSeenError, look_at, warning
from tests.cli.conftest import Terminal

ANALYSTS, ENGINEERS = "data-analysts@example.com", "data-engineers@example.com"


def directory(groups: Mapping[str, Any]):
    """Answers as Cloud Identity does; a group that is an exception is refused."""

    def ask(path: str) -> Mapping[str, Any] | None:
        if path.startswith("/v1/groups:lookup?groupKey.id="):
            found = groups.get(path.partition("=")[2].replace("%40", "@"))
            if isinstance(found, Exception):
                raise found
            return None if found is None else {"name": f"groups/{path.partition('=')[2][:4]}"}
        members = next(found for group, found in groups.items() if f"groups/{group[:4]}/" in path)
        return {"memberships": members} if members else {}

    return ask


def test_each_kind_of_group_is_told_apart() -> None:
    groups = {"aaaa@x.org": [{"name": "m"}], "bbbb@x.org": [], "dddd@x.org": NotSeenError("403")}
    found = list(look_at(["aaaa@x.org", "bbbb@x.org", "cccc@x.org", "dddd@x.org", "bbbb@x.org"], directory(groups)))
    assert found == [
        ("bbbb@x.org", GroupFault.EMPTY), ("cccc@x.org", GroupFault.UNKNOWN), ("dddd@x.org", GroupFault.NOT_SEEN),
    ]  # fmt: skip


@pytest.mark.parametrize("answer", [{}, {"name": "people/1"}, {"name": 7}])
def test_an_answer_that_names_no_group_is_no_knowledge(answer: Mapping[str, Any]) -> None:
    assert list(look_at(["a@x.org"], lambda _path: answer)) == [("a@x.org", GroupFault.NOT_SEEN)]


@pytest.mark.parametrize("fault", GroupFault)
def test_each_fault_has_a_sentence(fault: GroupFault) -> None:
    assert "a@x.org" in warning("a@x.org", fault)


def group(terminal: Terminal, email: str) -> str:
    body = {
        "parent": "customers/C00000000", "groupKey": {"id": email},
        "labels": {"cloudidentity.googleapis.com/groups.discussion_forum": ""},
    }  # fmt: skip
    made = terminal.cloud.cloudidentity.create(body)
    return str(made.get("response", made)["name"])


def test_validate_config_names_them(terminal: Terminal) -> None:
    empty = group(terminal, ANALYSTS)
    done = terminal.run("validate-config")
    assert "is valid" in done.stdout
    assert f"Warning: The group {ANALYSTS} is assigned a profile, but has no members" in done.stderr
    assert f"Warning: The group {ENGINEERS} could not be looked up" in done.stderr  # the directory says 403
    terminal.cloud.cloudidentity.join(
        empty, {"preferredMemberKey": {"id": "ana.silva@example.com"}, "roles": [{"name": "MEMBER"}]}
    )
    assert ANALYSTS not in terminal.run("validate-config").stderr
    assert terminal.run("validate-config", "--no-directory").stderr == ""
    assert terminal.run("validate-config", "-o", "json").stdout == "[]\n"


def test_without_a_cloud_nothing_is_looked_up(terminal: Terminal) -> None:
    terminal.environ["BENCHKEEPER_API_ENDPOINT"] = "http://127.0.0.1:1"
    assert terminal.run("validate-config").stderr == ""
