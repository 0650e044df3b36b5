"""The preview of a file of messages for `publish file`: their effect on each user. Nothing is sent or changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from msgspec import Struct, field

from cli.users import known_addresses
from shared.domain.intent.changes import ChangeKind
from shared.domain.people.events import (
    AccountUsable,
    Joined,
    LeaveCancelled,
    Left,
    LifecycleEvent,
    Moved,
    News,
    Renamed,
    Woken,
)
from shared.domain.people.groups import GroupEvent
from shared.domain.people.unknown_leaver import nearest_addresses
from shared.domain.things.errors import DamagedRecordError, NewerRecordError, PoisonError
from shared.engine.news.dead_letters import Change, foreseen
from shared.engine.news.lookup import find
from shared.engine.ports.deps import Deps
from shared.messages.files import Row

_READERS = 16


class PersonPlan(Struct, kw_only=True):
    """The effect of the messages about one user.

    `rows` are the messages' places in the file, `news` their statements. `kinds` and `texts` are the changes of the
    record, `actions` the plan after the changes. `refused` has the reasons why the intake would refuse messages.
    """

    user: str
    rows: list[Row] = field(default_factory=list)
    news: list[News] = field(default_factory=list)
    kinds: list[ChangeKind] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    actions: tuple[str, ...] = ()
    refused: list[str] = field(default_factory=list)


def foresee(
    rows: Sequence[tuple[Row, Sequence[News]]], deps: Deps, *, advance: Callable[[], None] = lambda: None
) -> list[PersonPlan]:
    """Return the effect of each user's messages, folded in the order of the file. Users are in the order of their first message."""
    plans = _by_person(rows)
    with ThreadPoolExecutor(_READERS) as readers:
        work = {readers.submit(_fill, plan, deps): plan for plan in plans}
        try:
            for done in as_completed(work):
                done.result()
                for _ in work[done].rows:
                    advance()
        except BaseException:
            readers.shutdown(cancel_futures=True)  # do not look up the other users, who may be ten thousand
            raise
    return plans


def _by_person(rows: Sequence[tuple[Row, Sequence[News]]]) -> list[PersonPlan]:
    """Return a plan for each user, with the user's messages.

    The old and the new address of a renamed user are one user, wherever in the file the rename is.
    """
    same: dict[str, str] = {}

    def first(name: str) -> str:
        while name in same:
            name = same[name]
        return name

    for _, news in rows:
        for piece in news:
            if isinstance(piece, Renamed) and first(piece.user) != first(piece.new_user):
                same[first(piece.new_user)] = first(piece.user)
    plans: dict[str, PersonPlan] = {}
    for row, news in rows:
        for piece in news or ():
            name = first(about(piece))
            plan = plans.setdefault(name, PersonPlan(user=name))
            if row not in plan.rows[-1:]:
                plan.rows.append(row)
            plan.news.append(piece)
    return list(plans.values())


def about(piece: News) -> str:
    """Return the name of the subject of `piece`: the address of a user or group, or a user key for a wake.

    A user without an address is named `person ID`.
    """
    match piece:
        case Woken():
            return piece.user_key
        case GroupEvent():
            return piece.group
        case _:
            return piece.user or f"person {piece.person_id}"


def _fill(plan: PersonPlan, deps: Deps) -> None:
    for change in _foreseen(plan, deps):
        plan.kinds.append(change.kind or ChangeKind.NOTED)
        plan.texts.append(change.text)
        if change.kind is not ChangeKind.NOTHING_NEW:
            plan.actions = change.actions  # each change is computed on the record with all earlier changes


def _foreseen(plan: PersonPlan, deps: Deps) -> list[Change]:
    try:
        return foreseen(plan.news, deps)
    except (DamagedRecordError, NewerRecordError) as error:
        plan.refused.append(error.user_message)
        return []
    except PoisonError:
        pass
    taken: list[News] = []
    changes: list[Change] = []
    for piece in plan.news:
        try:
            changes = foreseen([*taken, piece], deps)
            taken.append(piece)
        except PoisonError as error:
            plan.refused.append(error.user_message)
    return changes


def unknown_people(news: Sequence[News], deps: Deps) -> list[tuple[str, tuple[str, ...]]]:
    """Return the unknown users that messages other than joiners name, each with the nearest known addresses.

    A user with a joiner in the same file counts as known.
    """
    known = known_addresses(deps)
    known += [piece.user for piece in news if isinstance(piece, Joined)]
    present = set(known)
    asked: dict[str, LifecycleEvent] = {
        piece.user: piece
        for piece in news
        if isinstance(piece, Left | Moved | LeaveCancelled | Renamed | AccountUsable)
        and piece.user
        and piece.user not in present
    }
    return [
        (user, nearest_addresses(user, known))
        for user, piece in asked.items()
        if find(piece.user, deps, others=piece.also_known_as) is None
    ]
