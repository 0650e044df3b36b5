"""The handling of a cluster that could not be created: another zone, or the end of the request with a diagnosis.

Pure.
"""

from __future__ import annotations

from msgspec.structs import replace

from shared.domain.intent.wish import without_wish
from shared.domain.plan.plan import Policy
from shared.domain.record.record import UserRecord
from shared.domain.things.clusters import AUTO_ZONE, ClusterStatus
from shared.domain.things.errors import BenchkeeperError, InvalidSpecError, QuotaExhaustedError, StockoutError


def after_error(
    record: UserRecord, known: ClusterStatus, error: BenchkeeperError, policy: Policy
) -> tuple[UserRecord, ClusterStatus]:
    """Return the record and the status after a failed create: another zone, or the end of the request with a diagnosis."""
    if isinstance(error, StockoutError):
        first = () if known.tried_zones else (AUTO_ZONE,)
        tried = tuple(dict.fromkeys([*known.tried_zones, *first, known.zone]))
        if any(zone not in tried for zone in policy.zones):
            return record, replace(known, tried_zones=tried, offered_zones=error.zones)
        text = "No zone of the region has such machines just now. Try again later, or take a smaller environment."
    elif isinstance(error, QuotaExhaustedError):
        named = f" {error.quota}" if error.quota else ""
        text = f"The platform's quota{named} is used up just now. Try again later; an administrator sees this too."
    elif isinstance(error, InvalidSpecError) and not error.names_account:
        text = f"{error.user_message} An administrator must correct the template '{known.template}'."
    else:
        text = error.user_message
    ended = replace(known, tried_zones=(), offered_zones=(), reason=error.reason, message=text, diagnosis=text)
    return without_wish(record, known.template), ended
