"""The plan of `./deploy.sh gcp`: the steps of all kinds of resource. `cli.deploy.destroy` makes the plan of a removal."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from cli.deploy.kinds import access, billing, buckets, functions, messaging, observing, secrets, spark
from cli.deploy.step import Step
from cli.deploy.target import Target

_READERS = 4
# In the order in which they are shown. The steps themselves name the steps that they need.
_KINDS: tuple[Callable[[Target], Iterable[Step]], ...] = (
    access.agents,
    access.accounts,
    access.roles,
    buckets.buckets,
    messaging.topics,
    messaging.subscriptions,
    access.grants,
    access.identity,
    spark.grants,
    secrets.secrets,
    functions.functions,
    access.withdrawn,
    messaging.jobs,
    observing.sinks,
    observing.metrics,
    observing.channels,
    observing.alerts,
    observing.dashboard,
    billing.views,
)


def make_plan(target: Target) -> list[Step]:
    """Return the steps from the present to the wanted state.

    Four kinds are read in parallel, and nothing is changed.
    """
    with ThreadPoolExecutor(max_workers=_READERS) as pool:
        try:
            parts = list(pool.map(lambda kind: list(kind(target)), _KINDS))
        except BaseException:
            target.stop.set()  # an error or Ctrl-C: the other readers stop waiting
            raise
    return [step for part in parts for step in part]
