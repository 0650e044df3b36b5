"""The users' costs, from the view over the billing export that a deployment makes (config/deploy/cost_by_user.sql). Plain REST."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from shared.cloud.http.clients import Clients
from shared.domain.things.errors import CloudUnavailableError, PermanentError, Reason
from shared.domain.things.identity import UserKey
from shared.engine.ports.deps import Log

# The view has a row for each service and profile; the query sums them up to one row per user and currency.
_QUERY = """\
SELECT user_key, currency, SUM(net_cost) AS net_cost
FROM `{view}`
WHERE invoice_month = @month
GROUP BY user_key, currency
ORDER BY user_key, currency"""
_PAGE = 10_000
_WAIT_MS = 20_000  # BigQuery itself waits that long before it answers that the query still runs
_MOST_WAITS = 4
# The view reads some columns of the whole export; a query that would read more fails without being billed.
_MOST_BYTES = 50 * 1024**3
# The error is a 500 bytesBilledLimitExceeded (github.com/exmergo/dex/issues/320); a later try fails in the same way.
_TOO_MUCH = "exceeded limit for bytes billed"


class BigQueryCosts:
    """The adapter of the port `Costs`. `view` is `project.dataset.cost_by_user`; None if no billing export is configured.

    Only costs billed in `currency` are returned, because sums over several currencies are meaningless. The others are logged.
    """

    def __init__(self, clients: Clients, *, project: str, view: str | None, currency: str, log: Log) -> None:
        self._clients, self._view = clients, view
        self._currency, self._log = currency, log
        self._queries = f"/bigquery/v2/projects/{project}/queries"

    def month(self, month: str) -> Mapping[UserKey, float] | None:
        """Return the users' costs in `currency` by one query; None if no view is configured.

        Costs in other currencies are left out, and their sums are logged.
        """
        if self._view is None:
            return None
        costs: dict[UserKey, float] = {}
        others: dict[str, float] = defaultdict(float)
        for row in self._rows(self._view, month):
            net = float(row["net_cost"] or 0)
            if row["currency"] == self._currency:
                costs[UserKey(str(row["user_key"]))] = round(net, 6)
            else:
                others[str(row["currency"])] += net
        if others:
            totals = {currency: round(total, 2) for currency, total in sorted(others.items())}
            self._log.warning("Left out costs in other currencies", month=month, shown=self._currency, totals=totals)
        return costs

    def _rows(self, view: str, month: str) -> Iterator[dict[str, str | None]]:
        """Yield the rows of all pages, each as a mapping from column to value; NULL is None."""
        page = self._finished(self._start(view, month))
        while True:
            names = [str(field["name"]) for field in page["schema"]["fields"]]
            for row in page.get("rows", []):
                yield dict(zip(names, (cell["v"] for cell in row["f"]), strict=True))
            token = page.get("pageToken")
            if not token:
                return
            page = self._results(page["jobReference"], pageToken=token)

    def _start(self, view: str, month: str) -> dict[str, Any]:
        return self._call(
            "POST",
            self._queries,
            body={
                "query": _QUERY.format(view=view),
                "useLegacySql": False,
                "parameterMode": "NAMED",
                "queryParameters": [
                    {
                        "name": "month",
                        "parameterType": {"type": "STRING"},
                        "parameterValue": {"value": month.replace("-", "")},
                    }
                ],
                "timeoutMs": _WAIT_MS,
                "maxResults": _PAGE,
                "maximumBytesBilled": str(_MOST_BYTES),
            },
        )

    def _finished(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Return the first page once the query is done. Raise `CloudUnavailableError` if that takes too long for a sweep."""
        for _ in range(_MOST_WAITS):
            if answer.get("jobComplete"):
                return answer
            answer = self._results(answer["jobReference"])
        if answer.get("jobComplete"):
            return answer
        raise CloudUnavailableError(
            user_message="BigQuery takes too long to add up the costs; Benchkeeper tries again within the hour.",
            detail=f"costs: the query still runs after {_MOST_WAITS} waits of {_WAIT_MS} ms",
        )

    def _results(self, job: Mapping[str, Any], **more: str) -> dict[str, Any]:
        """Return the next page, or the first page of a running query. A job is found only in its own location."""
        query = {"timeoutMs": _WAIT_MS, "maxResults": _PAGE, **more}
        if job.get("location"):
            query["location"] = job["location"]
        return self._call("GET", f"{self._queries}/{job['jobId']}", params=query)

    def _call(
        self, method: str, path: str, *, body: dict[str, Any] | None = None, params: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        try:
            found = self._clients.json("bigquery").call_or_none(method, path, params=params, body=body, what="costs")
        except CloudUnavailableError as error:
            if _TOO_MUCH not in error.detail:
                raise
            raise PermanentError(
                user_message="The billing export is larger than what Benchkeeper reads for the costs. Set an expiration on its "
                "partitions, or let the view read a copy with the newest months.",
                detail=error.detail,
                reason=Reason.REFUSED,
            ) from error
        if found is None:
            raise PermanentError(
                user_message="The view of cost by user does not exist. ./deploy.sh gcp creates it: docs/operations.md, Cost by user.",
                detail=f"costs: 404 for {self._view}",
            )
        return found
