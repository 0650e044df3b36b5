"""Every route that the embedded cloud serves is needed by somebody: tests/data/embedded-cloud-routes.tsv says by whom.

Columns: the product (what its functions and commands call), a deployment (through the administrative services), the runbook and the README
(what their commands call), `next` (official clients and gcloud commands that are served next), `itself` (the control API, and what
tests of the product and of threats call). A route without a mark goes.
"""

from __future__ import annotations

import csv
import re

from emulator.app import EmbeddedCloud
from tests.kit.acme import ROOT

TABLE = ROOT / "tests" / "data" / "embedded-cloud-routes.tsv"


def readable(pattern: str) -> str:
    """A route's regular expression as Google writes paths: `/v1/{name=projects/*/topics/*}`."""

    def group(found: re.Match[str]) -> str:
        inside = re.sub(r"\[\^/:?\]\+\??", "*", found[2]).replace(".+", "**")
        return "{" + found[1].replace("__", ".") + ("" if inside == "*" else f"={inside}") + "}"

    text = re.sub(r"\(\?P<(\w+)>((?:[^()]|\([^()]*\))*)\)", group, pattern.removeprefix("^").removesuffix("$"))
    return re.sub(r"\((?:\?:)?([^()]*)\)\?", r"[\1]", text)


def test_each_route_is_in_the_table_and_needed_by_somebody() -> None:
    with TABLE.open(encoding="utf-8") as file:
        rows = {(row.pop("verb"), row.pop("path")): row for row in csv.DictReader(file, delimiter="\t")}
    cloud = EmbeddedCloud.build()
    served = {(entry.method, readable(entry.pattern.pattern)) for entry in cloud.wsgi.routes}
    assert served == set(rows)
    assert [key for key, needs in rows.items() if not any(needs.values())] == []
