"""The adapters to the policy in force and the proposed policies, and to the page's decisions and lists.

Policies are below `policy/` in the bucket of records (`shared.domain.policy.policy_change`). A process reads `policy/current` at most
once a minute; writes are conditional. If a read fails, the last policy that was read stays in use. Without such a policy, the error is
raised and the message is delivered again. An object that disappears after the process has read it counts as a failed read. Content that
this program does not understand comes from a newer program. Then the last good policy stays in use, or else the process's own files,
with an error in the log each time.

Decisions and lists are in the inbox beside the requests:

`wishes/_decisions/<time>-<id>.json`   a decision; the folder appears in the same listing as the folders of users with requests
`lists/<digest>.json`                  a frozen list of users; its name is the digest of its content, so that it cannot be forged
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from shared.cloud.http.clients import Clients
from shared.cloud.http.objects import Bucket
from shared.cloud.storage.inbox import DECISIONS
from shared.domain.intent.batches import digest_of
from shared.domain.intent.decision import Decision, from_note, to_json, to_note
from shared.domain.plan.plan import Policy
from shared.domain.policy.policy_change import (
    Approved,
    Noted,
    PolicyInForce,
    Proposal,
    approved_from_json,
    approved_to_json,
    in_force_from_json,
    in_force_to_json,
    noted_from_json,
    noted_to_json,
    proposal_from_json,
    proposal_to_json,
)
from shared.domain.policy.policy_codec import UnknownContentError, policy_digest, with_content
from shared.domain.record.waves import Rollout
from shared.domain.things.errors import BenchkeeperError, ConflictError, PermanentError, Reason
from shared.engine.ports.guard import WaitingDecision

if TYPE_CHECKING:
    from shared.engine.ports.deps import Clock, Log


T = TypeVar("T")
_CURRENT = "policy/current"
_PROPOSED, _APPROVED, _REJECTED, _DEPLOYED = (
    f"policy/{kind}/" for kind in ("proposed", "approved", "rejected", "deployed")
)
_KEEP_S = 60.0
_AFTER_FAILURE_S = 5.0


class StoragePolicies:
    """The adapter of the port `Policies`. With `strict`, content that this program does not understand raises an error instead of being logged."""

    def __init__(self, clients: Clients, *, clock: Clock, log: Log, strict: bool = False) -> None:
        self._clients = clients
        self._strict = strict
        self._clock, self._log = clock, log
        self._lock = threading.RLock()
        self._kept: PolicyInForce | None = None
        self._look_again_at = float("-inf")
        self._own: tuple[Policy, str] | None = None
        self._judged: tuple[Policy, PolicyInForce, Policy] | None = None

    def in_force(self, own: Policy) -> Policy:
        """Return the process's own policy with the content in force, cached for a minute; the own policy if none is in force yet.

        If the policy cannot be read, or this program does not understand it, use the last good one, as the module's
        docstring says.
        """
        with self._lock:
            current = self._recent()
            if current is None or (current.rollout is None and current.digest == self._digest_of(own)):
                return own
            judged = self._judged
            if judged is not None and judged[0] is own and judged[1] is current:
                return judged[2]
            policy = self._built(own, current)
            self._judged = (own, current, policy)
            return policy

    def _recent(self) -> PolicyInForce | None:
        if self._clock.monotonic_s() < self._look_again_at:
            return self._kept
        try:
            return self.load()
        except BenchkeeperError as error:
            if self._kept is None:
                raise
            self._log.error("Policy in force could not be read", reason=error.reason.value, detail=error.detail)
            self._look_again_at = self._clock.monotonic_s() + _AFTER_FAILURE_S
            return self._kept

    def _digest_of(self, own: Policy) -> str:
        if self._own is None or self._own[0] is not own:
            self._own = (own, policy_digest(own))
        return self._own[1]

    def _built(self, own: Policy, current: PolicyInForce) -> Policy:
        try:
            policy = own if current.digest == self._digest_of(own) else with_content(own, current.content)
            return (
                policy
                if current.rollout is None
                else replace(policy, rollout=current.rollout, earlier=self._earlier(own, current.rollout))
            )
        except UnknownContentError as error:
            if self._strict:
                raise PermanentError(
                    user_message="Another version of Benchkeeper wrote the policy in force, and this one does not understand it. Use "
                    "the version that is deployed.",
                    detail=f"content of policy {current.digest}: {error}"[:300],
                    reason=Reason.WRITTEN_BY_NEWER,
                ) from error
            last = self._judged[2] if self._judged is not None and self._judged[0] is own else own
            self._log.error(
                "Policy in force was written by another program", digest=current.digest, detail=str(error)[:300]
            )
            return last

    def _earlier(self, own: Policy, rollout: Rollout) -> tuple[Policy, ...]:
        """Return the earlier policies which an environment may still match during the rollout.

        Content that this program does not understand is logged and left out, so that the pass continues.
        """
        found = []
        for content in rollout.earlier:
            try:
                found.append(with_content(own, content))
            except UnknownContentError as error:
                self._log.error(
                    "Ignored an earlier policy with unknown content",
                    rollout=rollout.rollout_id,
                    detail=str(error)[:300],
                )
        return tuple(found)

    def load(self) -> PolicyInForce | None:
        """Return the policy in force by one read, without the cache; None if there never was one.

        Raise `PermanentError` if the object is gone after this process has read it.
        """
        found = self._read(_CURRENT)
        if found is None:
            with self._lock:
                if self._kept is not None:
                    raise PermanentError(
                        user_message=f"The object {_CURRENT} is gone. An administrator must restore an older version of it.",
                        detail="the policy in force was deleted",
                        reason=Reason.UNREADABLE,
                    )
                self._look_again_at = self._clock.monotonic_s() + _KEEP_S
            return None
        raw, generation = found
        return self._keep(_parsed(_CURRENT, lambda: in_force_from_json(raw, generation)))

    def put(self, policy: PolicyInForce, *, expected: PolicyInForce | None) -> PolicyInForce:
        """Write the policy by one conditional write. Raise `ConflictError` if the object is not at the expected generation."""
        generation = self._write(
            _CURRENT, in_force_to_json(policy), expected=expected.generation if expected is not None else 0
        )
        return self._keep(replace(policy, generation=generation))

    def _keep(self, current: PolicyInForce) -> PolicyInForce:
        with self._lock:
            if self._kept is not None and self._kept.generation == current.generation:
                current = self._kept  # so that a policy built from it still refers to the same object
            self._kept = current
            self._look_again_at = self._clock.monotonic_s() + _KEEP_S
        return current

    def proposals(self) -> tuple[Proposal, ...]:
        """Return the proposals by one listing and one read for each."""
        listed = self._clients.bucket().objects(prefix=_PROPOSED, what="list proposed policies")
        digests = [each.name.removeprefix(_PROPOSED) for each in listed]
        found = (self.proposal(digest) for digest in digests)
        return tuple(sorted((each for each in found if each is not None), key=lambda each: (each.at, each.digest)))

    def proposal(self, digest: str) -> Proposal | None:
        """Return the proposal by one read; None if there is none."""
        return self._object(f"{_PROPOSED}{digest}", proposal_from_json)

    def propose(self, proposal: Proposal) -> None:
        """Store the proposal by one unconditional write."""
        self._write(f"{_PROPOSED}{proposal.digest}", proposal_to_json(proposal))

    def withdraw(self, digest: str) -> None:
        """Delete the proposal by one call."""
        self._clients.bucket().delete(f"{_PROPOSED}{digest}", what="withdraw a proposed policy")

    def approved(self, digest: str) -> Approved | None:
        """Return the approved list by one read; None if there is none."""
        return self._object(f"{_APPROVED}{digest}", approved_from_json)

    def approve(self, approved: Approved) -> None:
        """Write the approved list by one unconditional write."""
        self._write(f"{_APPROVED}{approved.digest}", approved_to_json(approved))

    def rejected(self, digest: str) -> Noted | None:
        """Return the note of the policy's rejection by one read; None if there is none."""
        return self._object(f"{_REJECTED}{digest}", noted_from_json)

    def reject(self, noted: Noted) -> None:
        """Write the note of a rejection by one unconditional write."""
        self._write(f"{_REJECTED}{noted.digest}", noted_to_json(noted))

    def deployed(self, digest: str) -> Noted | None:
        """Return the note of the files' last deployment by one read; None if there is none."""
        return self._object(f"{_DEPLOYED}{digest}", noted_from_json)

    def note_deployed(self, noted: Noted) -> None:
        """Write the note of a deployment by one unconditional write."""
        self._write(f"{_DEPLOYED}{noted.digest}", noted_to_json(noted))

    def _object(self, name: str, parse: Callable[[Mapping[str, Any]], T]) -> T | None:
        found = self._read(name)
        return None if found is None else _parsed(name, lambda: parse(found[0]))

    def _read(self, name: str) -> tuple[dict[str, Any], int] | None:
        found = self._clients.bucket().get(name, what=f"read {name}")
        if found is None:
            return None
        return _parsed(name, lambda: dict(json.loads(found.content))), found.generation

    def _write(self, name: str, content: Mapping[str, Any], *, expected: int | None = None) -> int:
        written = self._clients.bucket().write(
            name,
            json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode(),
            expected=expected,
            what=f"write {name}",
        )
        if written is None:
            raise ConflictError(
                user_message="Another process changed the policy in force at the same time; Benchkeeper tries again.",
                detail=f"{name} is not at generation {expected}",
            )
        return written


def _parsed(name: str, parse: Callable[[], T]) -> T:
    try:
        return parse()
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise PermanentError(
            user_message=f"The object {name} is damaged. An administrator must restore an older version of it.",
            detail=f"unreadable {name}: {type(error).__name__}: {error}"[:300],
            reason=Reason.UNREADABLE,
        ) from error


_LISTS = "lists/"
_FIELDS = "name,metadata,timeCreated,size"
_MOST = 500  # administrators decide a few times a day; a flood of objects costs one tick no more than this


class StorageDecisions:
    """The adapter of the port `Decisions` over Cloud Storage."""

    def __init__(self, clients: Clients, *, bucket: str) -> None:
        self._clients = clients
        self._bucket_name = bucket

    def put(self, decision: Decision, *, by: str = "") -> None:
        """Create the decision with one create-only write."""
        self._create(f"{DECISIONS}{decision.name}.json", to_json(decision), note=to_note(decision, by=by))

    def put_list(self, content: bytes) -> str:
        """Create the list by one create-only write, and return its digest; the same list gives the same object."""
        digest = digest_of(content)
        self._create(f"{_LISTS}{digest}.json", content)
        return digest

    def _create(self, name: str, content: bytes, *, note: dict[str, str] | None = None) -> None:
        """Create the object unless it exists. This works for an account that may not delete."""
        self._bucket().create(name, content, metadata=note, what=f"write {name}")

    def waiting(self) -> tuple[WaitingDecision, ...]:
        """Return the decisions by one listing, the oldest first."""
        listed = self._bucket().objects(prefix=DECISIONS, fields=_FIELDS, most=_MOST, what="list decisions")
        found = [
            WaitingDecision(created_at=each.created_at, size=each.size, place=each.name, shown=from_note(each.metadata))
            for each in listed
            if each.created_at is not None
        ]
        return tuple(sorted(found, key=lambda each: (each.created_at, each.place)))

    def read(self, waiting: WaitingDecision) -> bytes | None:
        """Return the content with one read; None if there is no object."""
        return self._read(waiting.place)

    def read_list(self, digest: str) -> bytes | None:
        """Return the list by one read; None if there is none, or if its content does not match the digest in its name."""
        content = self._read(f"{_LISTS}{digest}.json")
        return content if content is not None and digest_of(content) == digest else None

    def _read(self, name: str) -> bytes | None:
        found = self._bucket().get(name, what=f"read {name}")
        return None if found is None else found.content

    def remove(self, waiting: WaitingDecision) -> None:
        """Delete the decision by one call."""
        self._bucket().delete(waiting.place, what="remove a decision")

    def _bucket(self) -> Bucket:
        return self._clients.bucket(self._bucket_name)
