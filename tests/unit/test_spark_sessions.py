"""Whose a serverless Spark session is."""

from __future__ import annotations

import pytest
from kit.making import ANA, person
from msgspec.structs import replace

from shared.domain.spark.leaver import session_owner
from shared.domain.things.identity import AccountId, account_email, parse_email

OLD = parse_email("ana.old@example.com")


@pytest.mark.parametrize("account", [None, AccountId("nb-ana")])
def test_sessions_are_a_persons_by_every_address_and_by_the_own_account_if_there_is_one(account):
    record = replace(person(account_id=account), former_emails=(OLD,))
    own = {account_email(account, "p")} if account is not None else set()
    assert session_owner(record, "p").addresses == {ANA, OLD, *own}
