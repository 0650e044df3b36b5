"""The end of access for a leaver whose record cannot be used, decided only by the state of the cloud.

Called by `deliver` for news that states a leave, if a newer program wrote the record or no version of it can be read.
Instances are only stopped and accounts only disabled; a stop and a disabling can be undone. Nothing is deleted, and the
record is not written. `deliver` still raises the error of the record, so the message is delivered again and this runs
again. Other news changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from shared.domain.people.events import AccountChanged, Left, LifecycleEvent, is_cut
from shared.domain.plan.plan import Activity
from shared.domain.record.audit import CutCall
from shared.domain.things.errors import BenchkeeperError, DamagedRecordError, NewerRecordError
from shared.domain.things.history import CallState
from shared.domain.things.identity import (
    AccountId,
    UserKey,
    account_id_for,
    is_user_key,
    user_key_for,
    user_key_of_instance,
)
from shared.domain.things.notebook import (
    LABEL_MANAGED_BY,
    LABEL_USER,
    MANAGED_BY,
    RESTING,
    Absent,
    InstanceRef,
    NotebookState,
    ObservedNotebook,
)
from shared.engine.ports.deps import Deps
from shared.engine.reconcile.audit import note_cuts

# The unreadable record may overrule an older statement: the user may be back.
LATELY = timedelta(days=14)
_ENDING = RESTING | {NotebookState.STOPPING, NotebookState.SUSPENDING, NotebookState.DELETED}


class CutByLabel(Struct, frozen=True, kw_only=True):
    """The result of one cut, as texts for the log.

    `stopped` are instances, `disabled` accounts, `unreachable` zones that could not be listed. `failed` names each resource that could
    not be read, stopped or disabled.
    """

    stopped: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    unreachable: tuple[str, ...] = ()
    disabled: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Return True if every resource could be read, stopped and disabled, and every zone could be listed."""
        return not self.failed and not self.unreachable


def is_cut_in_effect(news: LifecycleEvent, now: datetime, *, stated_at: datetime | None = None) -> bool:
    """Return True for news that states a leave of the user which is in effect and was stated in the last 14 days.

    `stated_at` is the time at which the message was first published, if known; otherwise the message's own times count.
    Leaving one group does not count: another group may entitle the user, and only the record says so.
    """
    match news:
        case Left() | AccountChanged(holds=True) if is_cut(news):
            said = stated_at or news.published_at or max(news.occurred_at, news.effective_at)
            return news.effective_at <= now and now - said <= LATELY
        case _:
            return False


def fail_closed(news: LifecycleEvent, error: DamagedRecordError | NewerRecordError, deps: Deps) -> CutByLabel | None:
    """End the access of the user of this news, and return the result; None if the news states no leave that is in effect.

    A failed call is reported in the result, not raised. `error` is the reason why the record cannot be used, with the record's key.
    """
    if not is_cut_in_effect(news, deps.clock.now()):
        return None
    forms = (news.user, *news.also_known_as) if news.user else ()
    keys = {user_key_for(form) for form in forms} | {key for form in forms for key in _known_as(form, deps)}
    if is_user_key(error.user_key):
        keys.add(UserKey(error.user_key))
    done = cut_by_label(keys, deps, because=f"{news.source} {error.reason.value}".strip())
    deps.log.error(
        "Handled a leaver without a usable record",
        users=sorted(keys),
        event_id=news.event_id,
        reason=error.reason.value,
        stopped=list(done.stopped),
        disabled=list(done.disabled),
        failed=list(done.failed),
        unreachable=list(done.unreachable),
        complete=done.complete,
    )
    return done


def cut_by_label(user_keys: Iterable[UserKey], deps: Deps, *, because: str = "") -> CutByLabel:
    """Stop every instance of these keys, in all zones and under all names, and disable their own service accounts.

    Safe to repeat. An instance belongs to a key by our labels, or by a name that only this product computes. After a failure,
    the other calls are still made; the result names what failed.
    """
    keys = frozenset(user_keys)
    calls, failed, unreachable = _running(keys, deps)
    accounts, unread = _enabled_accounts(keys, deps)
    calls += accounts
    note_cuts(_by_key(calls), because, deps)
    done = [_carried_out(call, deps) for call in calls]
    note_cuts(_by_key(done), because, deps)
    failed += [call.failed for call in done if call.failed] + unread
    ended = [call for call in done if not call.failed]
    return CutByLabel(
        stopped=tuple(call.target for call in ended if call.instance is not None),
        failed=tuple(failed),
        unreachable=tuple(sorted(unreachable)),
        disabled=tuple(call.target for call in ended if call.instance is None),
    )


class _Call(Struct, frozen=True, kw_only=True):
    """A call of a cut: the stop of `instance`, or, if that is None, the disabling of the account `target`."""

    key: UserKey
    target: str
    instance: InstanceRef | None
    state: CallState = CallState.ASKED
    failed: str = ""


def _running(keys: frozenset[UserKey], deps: Deps) -> tuple[list[_Call], list[str], frozenset[str]]:
    """Return (the stops to make, the failures as texts, the zones that could not be listed)."""
    try:
        listing = deps.notebooks.listing()
    except BenchkeeperError as error:
        return [], [f"list instances: {error.reason.value}"], frozenset()
    calls = []
    for notebook in listing.notebooks:
        owner = _owner(notebook)
        if owner is not None and owner in keys and notebook.state not in _ENDING:
            calls.append(_Call(key=owner, target=notebook.ref.instance_id, instance=notebook.ref))
    return calls, [], listing.unreachable


def _carried_out(call: _Call, deps: Deps) -> _Call:
    """Make the call and return it with its outcome."""
    try:
        if call.instance is not None:
            deps.notebooks.stop(call.instance)
        else:
            deps.accounts.disable(AccountId(call.target))
    except BenchkeeperError as error:
        verb = "stop" if call.instance is not None else "disable"
        return replace(call, state=CallState.REFUSED, failed=f"{verb} {call.target}: {error.reason.value}")
    return replace(call, state=CallState.DONE)


def _by_key(calls: Iterable[_Call]) -> dict[str, list[CutCall]]:
    """Return the calls as audit entries, by user key."""
    cuts: dict[str, list[CutCall]] = {}
    for call in calls:
        kind, text = (
            ("StopInstance", "stop instance")
            if call.instance is not None
            else ("DisableAccount", "disable service account")
        )
        cut = CutCall(kind=kind, target=call.target, text=text, activity=int(Activity.DISABLE), state=call.state)
        cuts.setdefault(call.key, []).append(cut)
    return cuts


def _owner(notebook: ObservedNotebook) -> UserKey | None:
    """Return the owner by the instance's label, or else by its name, because labels can be removed; None if no user is named."""
    label = notebook.labels.get(LABEL_USER, "")
    if notebook.labels.get(LABEL_MANAGED_BY) == MANAGED_BY and label:
        return UserKey(label)
    return user_key_of_instance(notebook.ref.instance_id)


def _enabled_accounts(keys: frozenset[UserKey], deps: Deps) -> tuple[list[_Call], list[str]]:
    """Return (the calls that disable accounts, the failures as texts). If no profile has personal accounts, no call is made."""
    if not any(profile.needs_account for profile in deps.policy.catalog.profiles.values()):
        return [], []
    calls, failed = [], []
    for key in sorted(keys):
        account_id = account_id_for(key)
        try:
            seen = deps.accounts.get(account_id, key)
        except BenchkeeperError as error:
            failed.append(f"read {account_id}: {error.reason.value}")
            continue
        if not isinstance(seen, Absent) and seen.is_ours and not seen.disabled:
            calls.append(_Call(key=key, target=account_id, instance=None))
    return calls, failed


def _known_as(address: str, deps: Deps) -> set[UserKey]:
    """Return the keys of the users with this address in the fleet index; empty if the index is missing or cannot be read.

    The keys may differ from the address's own key, because a user's key does not change with the address.
    """
    try:
        fleet = deps.fleet.fleet()
    except BenchkeeperError:
        return set()  # only a hint: the address's own key and the pointer's key are cut in any case
    return {row.user_key for row in fleet.rows if row.email == address} if fleet is not None else set()
