"""The whole check of a configuration.

`benchkeeper validate-config`, every deployment and the local start call this module. The deployed functions never do.

The check combines the findings of several parts: the files' shapes (`shared.settings`), the templates (`shared.cloud.dataproc`),
and the zones, machine types and disks in the files, which are compared with the shipped table or with the project's offer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct

from shared.cloud.dataproc.masters import judge_masters
from shared.cloud.dataproc.size_checks import check_sizes
from shared.cloud.dataproc.template_context import TemplateContext
from shared.cloud.http.clients import Clients, CloudConfig
from shared.compute_live import Ask, LiveTable, NoAnswerError, live
from shared.compute_table import table
from shared.domain.things.errors import BenchkeeperError
from shared.faults import ConfigFault, in_order
from shared.messages.mail_words import words_faults
from shared.settings import Files, Settings, config_dir_from, env_from, read_files
from shared.settings.offers import offer_faults, zones_of

_PATIENCE_S = 8.0  # somebody waits for the answer


class Checked(Struct, frozen=True):
    """The result of the whole check: the settings (None after faults), and all faults and notes by file and line."""

    settings: Settings | None
    faults: list[ConfigFault]
    notes: list[ConfigFault]


def check_all(
    *,
    env: str | None = None,
    config_dir: Path | None = None,
    environ: Mapping[str, str] | None = None,
    ask: Callable[[Files], Ask] | None = None,
) -> Checked:
    """Return the result of all checks of the configuration.

    The checks are about the files' shapes, the templates, the profiles' limits, the mails' texts, and the values that Google Cloud
    must offer. With `ask`, the project is queried for these values; otherwise the shipped table decides. The faults of all
    readable files are reported together.
    """
    folder = config_dir or config_dir_from(environ)
    files = read_files(env or env_from(environ), folder, os.environ if environ is None else environ)  # noqa: TID251 - handed on
    project, zones = files.settings_file.at("project"), zones_of(files.settings_file)
    judge = live(table(), ask(files), project) if ask is not None and isinstance(project, str) else table()
    context = TemplateContext(
        table=judge,
        region=zones[0].rpartition("-")[0] if zones else "",
        zones=zones,
        has_subnet=bool(files.settings_file.at("network", "subnet")),
    )
    offers = list(offer_faults(files.settings_file, files.profiles_file, judge))
    found = in_order(
        [
            [
                fault for fault in offers if not fault.is_note
            ],  # names the nearest value, where the file's shape only refuses
            files.faults,
            judge_masters(files.masters, str(folder / "templates"), context),
            check_sizes(files.profiles_file, files.masters, folder),
            _words(files, folder / "messages"),
            [fault for fault in offers if fault.is_note],
        ],
        files.order,
    )
    faults = [fault for fault in found if not fault.is_note]
    notes = [fault for fault in found if fault.is_note]
    notes += [_not_read(path) for path in sorted((folder / "templates").glob("*.y*ml")) if path.suffix != ".yaml"]
    if isinstance(judge, LiveTable) and judge.why_not:
        why = f"the project was not asked for everything: {judge.why_not.rstrip('.')}"
        notes.insert(0, ConfigFault(files.order[0], 0, "", why, "The shipped table was used instead.", is_note=True))
    return Checked(None if faults else files.settings, faults, notes)


def _words(files: Files, folder: Path) -> list[ConfigFault]:
    """Return the faults of the mails' texts; none if messages are not configured and there is no folder of texts."""
    chosen = files.settings_file.section("messages")
    if not chosen and not folder.is_dir():
        return []
    language = chosen.get("language", "en")
    return list(words_faults(folder, language if isinstance(language, str) else "en"))


def _not_read(path: Path) -> ConfigFault:
    return ConfigFault(
        str(path),
        0,
        "",
        "the file is not read: the name of a template's file ends in .yaml",
        "Rename it.",
        is_note=True,
    )


def ask_with(clients: Clients) -> Ask:
    """Return a function that returns True if Compute Engine has the resource at a path, and False for a 404.

    For any other failure, that function raises `NoAnswerError` with our own text, because Google's text may contain addresses.
    """

    def ask(path: str) -> bool:
        try:
            return clients.json("compute").call_or_none("GET", f"/compute/v1/{path}") is not None
        except BenchkeeperError as error:
            raise NoAnswerError(error.user_message) from error

    return ask


def ask_files(files: Files) -> Ask:
    """Return the function of `ask_with` for the project named in the settings, with the credentials of this process."""
    project, endpoint = str(files.settings_file.at("project")), files.endpoint
    return ask_with(Clients(CloudConfig(project=project, bucket="", api_endpoint=endpoint, patience_s=_PATIENCE_S)))
