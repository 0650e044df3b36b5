"""The check of the version in a template (a cluster's image or a serverless runtime) against the versions that the shipped table lists.

A version that is newer than the table's oldest and not listed gives only a note, because the table may be outdated.
"""

from __future__ import annotations

import difflib
import re

from shared.compute_table import Table, Verdict, close_to

_FIRST = "The table may be outdated. If the version does not exist, the first start fails."


def cluster_image(table: Table, version: str) -> Verdict | None:
    """Return the verdict on a Dataproc image version, such as `2.2-debian12`; None if it is valid."""
    match = re.fullmatch(r"(\d+\.\d+)(?:\.\d+)?(?:-([a-z0-9-]+))?", version)
    whole = [f"{number}-{systems[0]}" for number, systems in table.cluster_images.items()]
    if match is None:
        return Verdict(
            f"there is no image version '{version}'", f"{close_to(version, whole)}Valid: for example 2.2-debian12."
        )
    number, system = match[1], match[2]
    systems = table.cluster_images.get(number)
    if systems is None:
        if _parts(number) > min(_parts(each) for each in table.cluster_images):
            return Verdict(f"the image version '{version}' is not in the table of {table.date}", _FIRST, is_note=True)
        hint = f"Did you mean '{whole[0]}'? Valid: {', '.join(table.cluster_images)}."
        return Verdict(f"the image version '{version}' is no longer supported", hint)
    if system is None or system in systems:
        return None
    close = difflib.get_close_matches(system, systems, n=1, cutoff=0.0)
    return Verdict(
        f"there is no image version '{version}'",
        f"Did you mean '{number}-{close[0]}'? Valid with {number}: {', '.join(systems)}.",
    )


def session_runtime(table: Table, version: str) -> Verdict | None:
    """Return the verdict on a serverless runtime version, such as `2.3`; None if it is valid."""
    match = re.fullmatch(r"(\d+\.\d+)(?:\.\d+)?", version)
    if match is not None and match[1] in table.session_runtimes:
        return None
    if match is not None and _parts(match[1]) > min(_parts(each) for each in table.session_runtimes):
        return Verdict(f"the runtime version '{version}' is not in the table of {table.date}", _FIRST, is_note=True)
    close = close_to(version, table.session_runtimes, cutoff=0.0)
    return Verdict(f"there is no runtime version '{version}'", f"{close}Valid: {', '.join(table.session_runtimes)}.")


def _parts(number: str) -> tuple[int, ...]:
    return tuple(int(part) for part in number.split("."))
