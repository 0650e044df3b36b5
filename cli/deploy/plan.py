"""The whole plan for a project, and the plan that takes it down again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from cli.deploy.kinds import access, accounts, agents, billing, buckets, functions, messaging, observing, spark
from cli.deploy.step import Step
from cli.deploy.target import Target

_READERS = 4
# In the order in which they are shown. What waits for what is said by the steps.
_KINDS: tuple[Callable[[Target], Iterable[Step]], ...] = (
    agents.agents,
    accounts.accounts,
    accounts.roles,
    buckets.buckets,
    messaging.topics,
    messaging.subscriptions,
    access.grants,
    access.identity,
    spark.grants,
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
    """Everything that is wanted, compared with what is there. Reads, four kinds at a time, and changes nothing."""
    with ThreadPoolExecutor(max_workers=_READERS) as pool:
        try:
            parts = list(pool.map(lambda kind: list(kind(target)), _KINDS))
        except BaseException:
            target.stop.set()  # an error or Ctrl-C: the others need not be patient any more
            raise
    return [step for part in parts for step in part]
