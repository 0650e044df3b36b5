"""A million addresses, some of them nearly equal: every name is valid and unique. The time is compared with SHA-256 of the same addresses."""

from __future__ import annotations

import hashlib

from benching import arguments, header, judge, median, say, timed
from properties.test_names import addresses, check

from shared.domain.things.identity import instance_id_for, parse_email


def main() -> None:
    asked = arguments(__doc__)
    count = 100_000 if asked.quick else 1_000_000
    header(f"Names, {count:,} addresses")
    distinct: list[int] = []
    took = timed(lambda: distinct.append(check(count)))
    say(f"{distinct[0]:,} distinct valid ids of {count:,} different addresses, made and checked in {took:.1f} s")
    judge("addresses that share an id", count - distinct[0], 0, unit="")

    sample = [str(email) for email in addresses(min(count, 100_000))]
    named: list[float] = []
    hashed: list[float] = []
    for _ in range(3):
        named.append(timed(lambda: [instance_id_for(parse_email(email)) for email in sample]))
        hashed.append(timed(lambda: [hashlib.sha256(email.encode()).hexdigest() for email in sample]))
    per_name, per_hash = (median(times) / len(sample) * 1e6 for times in (named, hashed))
    say(f"an id from an address: {per_name:.1f} us; SHA-256 of it alone: {per_hash:.2f} us")
    judge("RATIO id / SHA-256", per_name / per_hash, 50)


if __name__ == "__main__":
    main()
