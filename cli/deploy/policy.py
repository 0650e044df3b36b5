"""The effect of a deployment's files on users, as counts, shown before the confirmation.

The records are read with gcloud's own token.
"""

from __future__ import annotations

from collections.abc import Iterator

from cli.deploy.failures import DeployError
from cli.deploy.gcloud import Gcloud
from cli.impact import count_lines, verdict_lines
from shared.domain.things.errors import BenchkeeperError
from shared.engine.decisions.policy_impact import impact_of_policy
from shared.settings import Settings
from shared.telemetry import SilentLog
from shared.wiring import make_clients, wire

_PATIENCE_S = 10.0  # short, because the user waits for the plan


def impact_lines(settings: Settings, gcloud: Gcloud) -> Iterator[str]:
    """Yield lines with the effect of putting the files in force.

    Yield no lines if the files are in force, if no policy is in force yet, or if gcloud's calls do not go to Google. If
    the effect cannot be computed, for example because the deploying account may not read people's records, the only
    line gives the reason and the command that shows the effect.
    """
    look = f"benchkeeper --env {settings.env} impact names them."
    try:
        if not gcloud.goes_to_google("storage"):
            return
        clients = make_clients(settings, patience_s=_PATIENCE_S, token=gcloud.token())
        deps = wire(settings, log=SilentLog(), clients=clients, strict=True)
        if deps.policies.load() is None or deps.policy == deps.with_book(settings.policy()):
            return
        judged = impact_of_policy(settings.policy(), deps)
    except (BenchkeeperError, DeployError) as error:
        why = error.user_message if isinstance(error, BenchkeeperError) else error.cause
        yield f"The effect of the files on people was not computed: {why} {look}"
        return
    found = judged.impact
    if not found.entries and not judged.excesses:
        yield "The files change the policy in force, without an effect on anyone."
        return
    yield "The files change the policy in force. For people:"
    yield from count_lines(found)
    yield from verdict_lines(judged.excesses, empty=not found.entries)
    if found.entries:
        yield look
