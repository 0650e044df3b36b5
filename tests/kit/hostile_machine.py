"""Rules of the state machine for input that is odd, false or hostile, and what must hold whatever comes.

What a source may not say changes nothing: such messages are not kept in `sent`, so the oracle knows nothing of them. What a cut
says counts however it is spelt: it is kept as the plain leaver that it is.
"""

from __future__ import annotations

import contextlib
import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from emulator.model.disks import disk_path
from kit.oracle import STATES, Sent, instances
from kit.reading import read
from kit.spark_machine import USERS, parse_email
from shared.domain.intent.renaming import owns_something
from shared.domain.people.sources import DIRECTORY, FROM_ROSTER, HR, OPERATOR, SHIPPED, WAKE, May
from shared.domain.things.errors import BenchkeeperError, PoisonError
from shared.domain.things.identity import user_key_for
from shared.engine.news.deliver import deliver_all

if TYPE_CHECKING:
    from kit.inprocess import Bench
    from kit.ledger import Ledger

GROUPS = ("data-analysts@example.com", "data-engineers@example.com")
ADMIN_EVENTS = {
    ("suspended", True): "SUSPEND_USER", ("suspended", False): "UNSUSPEND_USER",
    ("archived", True): "ARCHIVE_USER", ("archived", False): "UNARCHIVE_USER",
    ("deleted", True): "DELETE_USER", ("deleted", False): "UNDELETE_USER",
    ("disabled", True): "account_disabled_generic",
}  # fmt: skip
# Which right a fact needs.
RIGHTS = {
    "employment": May.EMPLOYMENT, "roster": May.GROUPS, "request": May.PROFILE, "default": May.EMPLOYMENT,
    "access_until": May.ACCESS_UNTIL, "person_id": May.PERSON_ID, "group": May.GROUPS, "attribute": May.ATTRIBUTES,
    "account": May.ACCOUNT,
}  # fmt: skip


def entry(
    events: list[dict[str, Any]], occurred: datetime, number: int, *, organization: str = "123456789012"
) -> bytes:
    """A log entry of the admin or the login log."""
    service = "login.googleapis.com" if events[0]["eventName"].startswith("account_") else "admin.googleapis.com"
    log = "data_access" if service.startswith("login") else "activity"
    return json.dumps(
        {
            "insertId": f"i{number}", "timestamp": occurred.isoformat(),
            "logName": f"organizations/{organization}/logs/cloudaudit.googleapis.com%2F{log}",
            "protoPayload": {"serviceName": service, "metadata": {"event": events}},
        }
    ).encode()  # fmt: skip


def event(name: str, **parameters: str) -> dict[str, Any]:
    return {"eventName": name, "parameter": [{"name": key, "value": value} for key, value in parameters.items()]}


def about(user: str, name: str, **more: str) -> dict[str, Any]:
    key = "affected_email_address" if name.startswith("account_") else "USER_EMAIL"
    return event(name, **{key: user}, **more)


class HostileRules:
    """See the module. Mixed into the machine, which has the bench, the ledger and what was sent."""

    bench: Bench
    ledger: Ledger
    sent: list[Sent]
    pending: list[Sent]
    serial: int

    def _deliver(self, sent: Sent) -> bool:
        raise NotImplementedError  # the machine's

    def _send(self, body: bytes, source: str, **more: Any) -> None:
        """As the function does, with whatever comes of it; what could not be taken now is not tried again."""
        with contextlib.suppress(BenchkeeperError):
            deliver_all(read(body, source=source, published=self.bench.now, **more).news, self.bench.deps)

    def body_of_log(self, sent: Sent) -> bytes | None:
        """The entry that says it; None for what is of the neutral schema."""
        match sent.kind:
            case "member":
                name = "ADD_GROUP_MEMBER" if sent.attributes["member"] else "REMOVE_GROUP_MEMBER"
                said = about(sent.user, name, GROUP_EMAIL=sent.attributes["group"])
            case "account":
                said = about(sent.user, ADMIN_EVENTS[sent.attributes["state"], sent.attributes["holds"]])
            case _:
                return None
        # An event that nobody reads stands beside it, and must hold up nothing.
        return entry([event("CHANGE_PASSWORD", USER_EMAIL=sent.user), said] if int(sent.event_id[1:]) % 2 else [said],
                     sent.occurred, int(sent.event_id[1:]))  # fmt: skip

    @rule(
        user=st.sampled_from(USERS),
        state=st.sampled_from(STATES),
        holds=st.booleans(),
        said_ago=st.sampled_from([0, 0, 60, 3600]),
    )
    def account_state(self, user: str, state: str, holds: bool, said_ago: int) -> None:
        """The directory says that an account came into a state, or out of it."""
        if (state, holds) in ADMIN_EVENTS:
            self._log("account", user, said_ago, {"state": state, "holds": holds})

    @rule(
        user=st.sampled_from(USERS),
        group=st.sampled_from(GROUPS),
        member=st.booleans(),
        said_ago=st.sampled_from([0, 0, 60, 3600]),
    )
    def membership(self, user: str, group: str, member: bool, said_ago: int) -> None:
        """The directory says that somebody came into a group, or left it."""
        self._log("member", user, said_ago, {"group": group, "member": member})

    def _log(self, kind: str, user: str, said_ago: int, attributes: dict[str, Any]) -> None:
        self.serial += 1
        occurred = self.bench.now - timedelta(seconds=said_ago)
        message = Sent(
            event_id=f"e{self.serial:04}", kind=kind, user=str(parse_email(user)), occurred=occurred, effective=occurred,
            attributes=attributes, published=self.bench.now, explicit=False, source="directory",
        )  # fmt: skip
        self.sent.append(message)
        self.pending.append(message)
        self._deliver(message)

    @rule(user=st.sampled_from(USERS), what=st.integers(0, 11))
    def forged(self, user: str, what: int) -> None:
        """Somebody says what they may not, or about whom they may not, or what did not happen: nothing changes."""
        self.serial += 1
        number, now = self.serial, self.bench.now
        user = str(parse_email(user))
        neutral = {
            "schema": "workbench.lifecycle/v1", "event_id": f"f{number}", "type": "joiner", "user": user,
            "occurred_at": now.isoformat(), "effective_time": now.isoformat(),
        }  # fmt: skip

        def text(**more: Any) -> bytes:
            return json.dumps({**neutral, **more}).encode()

        enters = about(user, "ADD_GROUP_MEMBER", GROUP_EMAIL=GROUPS[1])
        forgeries: list[tuple[str, bytes]] = [
            (HR, entry([enters], now, number)),
            (DIRECTORY, text(attributes={"profile": "engineer"})),
            (DIRECTORY, text(type="leaver")),
            (WAKE, text(type="leaver")),
            (WAKE, entry([about(user, "DELETE_USER")], now, number)),
            (HR, text(type="account", account="usable")),
            (DIRECTORY, entry([about(user, "DELETE_USER")], now, number, organization="998877665544")),
            (DIRECTORY, entry([{**enters, "status": {"success": False}}], now, number)),
            (HR, text(user=user.replace("@", "+tag@"), attributes={"profile": "engineer"})),
            (HR, text(user=f"{user.partition('@')[0]}@elsewhere.example")),
            (HR, text(user=user.replace("n", "\u0578"), attributes={"profile": "engineer"})),
            (
                DIRECTORY,
                entry([about("svc@p.iam.gserviceaccount.com", "ADD_GROUP_MEMBER", GROUP_EMAIL=GROUPS[0])], now, number),
            ),
        ]
        source, body = forgeries[what]
        self._send(body, source)

    @rule(user=st.sampled_from(USERS), spelling=st.integers(0, 6))
    def cut_however_spelt(self, user: str, spelling: int) -> None:
        """A leaver with faults all around it, under another spelling of the address: it counts as the leaver that it is."""
        self.serial += 1
        user, now = str(parse_email(user)), self.bench.now
        name, _, domain = user.partition("@")
        spelt = [
            f"Some Body <{user}>", f"{name}+payroll@{domain}", f"mailto:{user}", user.upper(), f"{name}\u200b@{domain}",
            f" {user}. ", "".join(chr(ord(c) + 0xFEE0) if c.isascii() and c.isalpha() else c for c in name) + f"@{domain}",
        ][spelling]  # fmt: skip
        message = Sent(
            event_id=f"e{self.serial:04}", kind="leaver", user=user, occurred=now, effective=now, attributes={},
            published=now, explicit=False,
        )  # fmt: skip
        body = {
            "schema": "workbench.lifecycle/v1", "event_id": message.event_id, "type": " Leaver ", "user": spelt,
            "profile": 7, "attributes": {"groups": "none", "x": {"y": 1}}, "reason": "r" * 5000,
        }  # fmt: skip
        self.sent.append(message)
        try:
            taken = read(json.dumps(body).encode(), published=now)
            deliver_all(taken.news, self.bench.deps)
            assert taken.faults, "the faulty rest is not reported"
        except PoisonError as error:
            raise AssertionError(f"a leaver was refused: {error.detail}") from error
        except (BenchkeeperError, self.crash_error):  # type: ignore[attr-defined]  # the machine's
            self.pending.append(message)  # Pub/Sub brings it again, as it is or in plain words

    @precondition(lambda self: self.ledger.newest)
    @rule(user=st.sampled_from(USERS))
    def steal(self, user: str) -> None:
        """HR announces, in error or in malice, that somebody's address is now another one, and that one joins.

        Of somebody who owns nothing HR's word is enough: the person and the environment are the new address's then.
        """
        self.serial += 1
        user, now = str(parse_email(user)), self.bench.now
        stored = self.bench.deps.records.load(user_key_for(parse_email(user)))
        if stored is None or not owns_something(stored.record):
            return
        thief = f"thief{self.serial}@example.net"
        said = {"schema": "workbench.lifecycle/v1", "occurred_at": now.isoformat(), "user": user}
        self._send(
            json.dumps({**said, "event_id": f"t{self.serial}", "type": "renamed", "new_user": thief}).encode(), HR
        )
        joins = {**said, "event_id": f"u{self.serial}", "type": "joiner", "user": thief, "attributes": {"groups": []}}
        self._send(json.dumps(joins).encode(), HR)

    @invariant()
    def nobody_has_anothers_bytes(self) -> None:
        """What is on a disk was written by whoever's instance it is."""
        owners = {user_key_for(parse_email(user)): str(parse_email(user)) for user in USERS}
        for instance in instances(self.bench.cloud).values():
            disk = self.bench.cloud.compute.disks.disks.get(disk_path(instance, "data-workspace"))
            content = disk.content.split(b"\x00")[0].decode() if disk is not None else ""
            writer = content.rpartition(" ")[0]
            owner = owners.get(instance.body.get("labels", {}).get("benchkeeper-user", ""))
            assert not writer or owner in {None, writer}, f"{owner} has the bytes of {writer}"

    def facts_are_allowed(self) -> None:
        """No fact stands that its source may not state."""
        for row in self.bench.deps.records.rows():
            stored = self.bench.stored(row.user_key)
            for name, timeline in stored.record.facts.timelines.items() if stored is not None else ():
                for statement in timeline:
                    right = RIGHTS[name.partition(":")[0]]
                    if statement.source == FROM_ROSTER:
                        assert right in {May.GROUPS, May.EMPLOYMENT}, f"a roster states {name}"
                    else:
                        assert SHIPPED[statement.source].may(right), f"{statement.source} states {name}"
                    assert statement.source in {HR, DIRECTORY, OPERATOR, FROM_ROSTER}
