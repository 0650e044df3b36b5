"""What the engine needs from the outside, as protocols. Adapters in `shared.cloud` fulfil them; tests bring fakes of their own.

Every method may raise `RetryableError` or `PermanentError` of `shared.domain.errors`, and nothing else on purpose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from shared.domain.batches import WaitingPerson
from shared.domain.decision import Decision, ShownDecision
from shared.domain.figures import Figures
from shared.domain.fleet import FleetSnapshot, Notes
from shared.domain.groups import GroupBook
from shared.domain.identity import AccountId, UserEmail, UserKey
from shared.domain.idle import Activity
from shared.domain.keeping import SnapshotSeen
from shared.domain.notebook import Absent, InstanceRef, NotebookSpec, ObservedNotebook, Patch
from shared.domain.plan import AccountSeen, OperationSeen, Policy, TemplatesSeen
from shared.domain.policy_change import Approved, Noted, PolicyInForce, Proposal
from shared.domain.record import OperationRef, RecordRow, UserRecord
from shared.domain.recovery import Examined, Recoverable
from shared.domain.sessions import SessionOffer, SessionSeen, WantedSession
from shared.domain.snapshot_actions import WriteManifest
from shared.domain.spark import Cluster, ClusterOperationSeen
from shared.domain.spark_actions import CreateCluster
from shared.domain.spark_sessions import SessionOwner
from shared.domain.template_actions import PutTemplate
from shared.domain.wish import Wish

T = TypeVar("T")


class Stored(Struct, frozen=True):
    """A record and the generation of its object, which the next write must name."""

    record: UserRecord
    generation: int


class ListedRow(Struct, frozen=True):
    """A row, and the texts that the listing gave it as: the list for the pages takes them over as they are."""

    row: RecordRow
    texts: Mapping[str, str]


class DueHint(Struct, frozen=True):
    """An entry of the due index: this user may be due since `at`. A hint, never authority."""

    at: datetime
    user_key: UserKey


class DueClaim(Struct, frozen=True, kw_only=True):
    """A part of the due users that one sweep works on. `holder` is that sweep; `at` is Cloud Storage's own time."""

    part: int
    holder: str
    at: datetime
    generation: int


class NotebookListing(Struct, frozen=True):
    """Instances of all zones; `unreachable` names the zones that could not be asked, where absence means nothing."""

    notebooks: tuple[ObservedNotebook, ...]
    unreachable: frozenset[str]


class LetterRow(Struct, frozen=True, kw_only=True):
    """What a listing tells of a dead letter without reading it. `place` is where the adapter finds it again.

    `letter_id` is the message's own id, so the same message delivered again is the same letter; `sent_at` is when it was
    published. `function` says whose message it was, as far as that is known; `users` whom it names. `cuts` is True if the
    message states that somebody leaves. `marks_pending`: not all records of `users` are known to be marked yet. `tries` counts
    the replays that the sweep tried; `next_try_at` is when it tries again.
    """

    letter_id: str
    sent_at: datetime
    reason: str
    detail: str
    function: str = ""
    users: tuple[UserKey, ...] = ()
    replayed_at: datetime | None = None
    outcome: str = ""
    place: str = ""
    cuts: bool = False
    marks_pending: bool = False
    tries: int = 0
    next_try_at: datetime | None = None


class DeadLetter(Struct, frozen=True, kw_only=True):
    """A message that cannot succeed, with the reason and all that handling it again needs.

    `body` is what arrived, byte for byte; it is less than `size` when the message was too large to be kept whole.
    `attributes` are all that came with it, ours among them. `topic` is the id of the topic it came on, empty if unknown.
    """

    row: LetterRow
    source: str
    received_at: datetime
    body: bytes
    size: int
    attributes: Mapping[str, str]
    topic: str = ""

    @property
    def is_cut(self) -> bool:
        """True when not all of the message was kept."""
        return len(self.body) < self.size


class WaitingWish(Struct, frozen=True, kw_only=True):
    """An object below `wishes/`. `created_at` is Cloud Storage's own time. `place` is where the adapter finds it.

    `name` is the object's own name, without the person's prefix. `shown` is what the listing says of the wish, for the page;
    None if it says nothing that can be read.
    """

    user_key: UserKey
    name: str
    created_at: datetime
    size: int
    shown: Wish | None
    place: str


class InboxFolders(Struct, frozen=True, kw_only=True):
    """For whom wishes wait, and whether a decision about many people does."""

    people: tuple[UserKey, ...]
    has_decisions: bool = False


class WaitingDecision(Struct, frozen=True, kw_only=True):
    """A decision's object. `created_at` is Cloud Storage's own time. `place` is where the adapter finds it.

    `shown` is what the page noted beside it, for pages alone: nobody verified it, so nothing is decided by it.
    """

    created_at: datetime
    size: int
    place: str
    shown: ShownDecision | None = None


class Clock(Protocol):
    """The time."""

    def now(self) -> datetime:
        """Aware UTC."""

    def monotonic_s(self) -> float:
        """Real seconds, for the bound of one process's work; never for anything that is saved."""

    def speed(self) -> float:
        """Seconds of `now` in a real second: 1, but for the embedded cloud's clock."""


class Records(Protocol):
    """One record per person, written conditionally, and the due index."""

    def load(self, user_key: UserKey) -> Stored | None:
        """Return the record, None when there has never been one. For an address that a person has taken on, the person's own.

        So its `user_key` may be another than the one asked for; only that one names the person's things.
        """

    def save(self, record: UserRecord, *, expected: Stored | None) -> Stored:
        """Write if the object is still as `expected` was read (None: if there is none); `ConflictError` otherwise.

        The due hint for `next_attempt_at` is written before the record, so that a crash between the two leaves at worst a
        stale hint; it is there already when `expected` has the same time.
        """

    def point(self, user_key: UserKey, to: UserKey, *, expected: Stored | None) -> None:
        """From now on `user_key` leads to the record of `to`.

        It takes the place of the record `expected` (None: of nothing); `ConflictError` if that is not what is there.
        """

    def put_back(self, found: Recoverable, record: UserRecord | None) -> None:
        """Write `record` (None: the pointer that was found) over what was examined; `ConflictError` if that changed since."""

    def examine(self, user_key: UserKey) -> Examined:
        """Judge the object of this very key and, if it is damaged or gone, its older versions, the newest first.

        `NewerRecordError` when a newer program wrote the newest one that is not damaged: nothing may be put over it.
        """

    def rows(self) -> Iterator[RecordRow]:
        """All records, as far as a listing tells."""

    def listed(self) -> Iterator[ListedRow | UserKey]:
        """Return the same listing with the keys of objects without a row: damaged ones, and pointers of earlier programs."""

    def due(self, until: datetime) -> Iterator[DueHint]:
        """Hints up to `until`, oldest first."""

    def due_and_claims(self, until: datetime) -> Iterator[DueHint | DueClaim]:
        """Return the same listing with what sweeps have claimed, first."""

    def drop_hint(self, hint: DueHint) -> None:
        """Remove a hint; not being there is fine."""

    def claim_due(self, part: int, holder: str) -> DueClaim | None:
        """Claim a part of the due users, and return whose it is: `holder`'s now, or that of a sweep that was quicker.

        None: that other sweep let go between two calls.
        """

    def release_due(self, claim: DueClaim) -> None:
        """Remove a claim; one that is gone, or is another's by now, is not an error."""


class StoredBook(Struct, frozen=True):
    """The news of groups and the generation of its object, 0 where there is none; the next write must name it."""

    book: GroupBook
    generation: int


class GroupBooks(Protocol):
    """What became of the assigned groups: one object beside the policy, `policy/groups`."""

    def current(self, *, fresh: bool = False) -> GroupBook:
        """Return the book as it was read in the last minutes; `fresh` reads it now."""

    def load(self) -> StoredBook:
        """Read the book."""

    def save(self, book: GroupBook, *, expected: StoredBook) -> StoredBook:
        """Write the book if it is still as `expected` was read; raise `ConflictError` otherwise."""


class Slot(Struct, frozen=True, kw_only=True):
    """A place that was claimed: `window` and `number` make its name, `holder` is who took it, `at` is Cloud Storage's own time.

    `generation` is that of the object, which whoever takes the place next must name.
    """

    window: str
    number: int
    holder: UserKey
    at: datetime
    generation: int


class FleetSizes(Struct, frozen=True, kw_only=True):
    """How many people are to have an environment: all, by profile, and by the group that entitles them."""

    everybody: int = 0
    profiles: Mapping[str, int] = field(default_factory=dict)
    groups: Mapping[str, int] = field(default_factory=dict)


class Guard(Protocol):
    """What the guard keeps: slots, of which so many may be taken in a window; who waits; how large the fleet is."""

    def slots(self, source: str) -> tuple[Slot, ...]:
        """Return all slots that were ever taken by what this source said, those that are over too, by one listing."""

    def slot(self, source: str, window: str, number: int) -> Slot | None:
        """Return one slot, by its name; None: nobody took it, or it was removed."""

    def claim(self, source: str, window: str, number: int, holder: UserKey, *, expected: Slot | None) -> bool:
        """Take a slot: a free one (None), or in the place of one that is over. False: somebody else was quicker."""

    def all_slots(self) -> Iterator[tuple[str, Slot]]:
        """Return the slots of all sources, each with the source's folder, by one listing."""

    def free(self, source: str, slot: Slot) -> None:
        """Remove a slot that is over; one that somebody took meanwhile stays."""

    def sizes(self) -> FleetSizes | None:
        """Return the sizes as a sweep counted them last; None before the first one, or if they are damaged. Kept for minutes."""

    def write_sizes(self, sizes: FleetSizes) -> None:
        """Keep the sizes."""

    def note_waiting(self, waiting: WaitingPerson) -> None:
        """Keep that somebody waits, where `waiting` finds it."""

    def forget_waiting(self, user_key: UserKey, *, idle: bool = False) -> None:
        """Forget that a cut waits, or with `idle` a stop for idleness; a missing one is not an error."""

    def waiting(self) -> Iterator[WaitingPerson]:
        """Return who waits, by one listing."""


class Policies(Protocol):
    """The policy in force, and what became of proposed ones: objects below `policy/` (`shared.domain.policy_change`)."""

    def in_force(self, own: Policy) -> Policy:
        """Return what to judge by: the content in force in the process's own policy; the own one where none is in force yet.

        Asked for many times in a pass; it reads at most once a minute.
        """

    def load(self) -> PolicyInForce | None:
        """Read the policy in force now; None if there never was one."""

    def put(self, policy: PolicyInForce, *, expected: PolicyInForce | None) -> PolicyInForce:
        """Put it in force if what is in force is still `expected` (None: nothing); raise `ConflictError` otherwise."""

    def proposals(self) -> tuple[Proposal, ...]:
        """Return what was proposed and is not in force, oldest first."""

    def proposal(self, digest: str) -> Proposal | None:
        """Return the proposal of that digest."""

    def propose(self, proposal: Proposal) -> None:
        """Keep a proposal, in place of an earlier one of the same digest."""

    def withdraw(self, digest: str) -> None:
        """Remove a proposal; a missing one is not an error."""

    def approved(self, digest: str) -> Approved | None:
        """Return the list that was agreed to for the policy of that digest."""

    def approve(self, approved: Approved) -> None:
        """Keep the list, in place of an earlier one."""

    def rejected(self, digest: str) -> Noted | None:
        """Return who rejected the policy of that digest; None if nobody did."""

    def reject(self, noted: Noted) -> None:
        """Keep that it was rejected."""

    def deployed(self, digest: str) -> Noted | None:
        """Return who deployed files with that digest last; None if no deployment noted it."""

    def note_deployed(self, noted: Noted) -> None:
        """Keep who deployed it."""


class Persons(Protocol):
    """Which records HR's person numbers belong to."""

    def note(self, person_id: str, user_key: UserKey) -> None:
        """Remember that the record has this number. Idempotent."""

    def known(self, person_id: str) -> tuple[UserKey, ...]:
        """Return the keys of the records that have, or had, this number."""

    def forget(self, person_id: str, user_key: UserKey) -> None:
        """Forget that the record had this number; one that is not noted is not an error."""


class Notebooks(Protocol):
    """Workbench instances."""

    def get(self, ref: InstanceRef) -> ObservedNotebook | Absent:
        """One instance."""

    def pages(self) -> Iterator[NotebookListing]:
        """Yield the pages of a listing of all zones."""

    def listing(self) -> NotebookListing:
        """All instances of the project."""

    def operation(self, ref: OperationRef) -> OperationSeen | Absent:
        """Return an operation by name."""

    def latest_operation(self, ref: InstanceRef) -> OperationRef | None:
        """Return the newest operation on an instance whose own reference was lost in a crash."""

    def create(self, spec: NotebookSpec, zone: str, request_id: str) -> OperationRef | None:
        """Start a create; None when the instance is there already and ours. `NotOursError` when it is somebody else's."""

    def start(self, ref: InstanceRef) -> OperationRef | None:
        """Start a start."""

    def stop(self, ref: InstanceRef) -> OperationRef | None:
        """Start a stop; None when there is nothing to stop."""

    def delete(self, ref: InstanceRef, request_id: str) -> OperationRef | None:
        """Start a delete; None when it is gone already."""

    def update(self, ref: InstanceRef, patch: Patch, request_id: str) -> OperationRef | None:
        """Start a patch of exactly what `patch` names."""

    def restore(self, ref: InstanceRef, snapshot: str) -> OperationRef | None:
        """Start to put what a snapshot of this project holds onto the data disk."""


class Accounts(Protocol):
    """The people's own service accounts."""

    def get(self, account_id: AccountId, user_key: UserKey) -> AccountSeen | Absent:
        """Return the account with its policy."""

    def create(self, account_id: AccountId, user_key: UserKey) -> None:
        """Make it; there already and ours is success. `NotOursError` when it is somebody else's."""

    def share(self, account_id: AccountId, user: UserEmail | None) -> None:
        """Make its policy let this person act as it and nobody else; None: nobody. Read, change, write, again on conflict."""

    def enable(self, account_id: AccountId) -> None:
        """Enable it; enabled already is done."""

    def disable(self, account_id: AccountId) -> None:
        """Disabled already, or gone, is done."""

    def delete(self, account_id: AccountId) -> None:
        """Gone already is done."""


class Groups(Protocol):
    """Google groups that carry data roles; their members are service accounts of people."""

    def has(self, group: str, member: str) -> bool:
        """Return True when `member` (an address) is a direct member."""

    def join(self, group: str, member: str) -> None:
        """Member already is done."""

    def leave(self, group: str, member: str) -> None:
        """No member, or no such group, is done."""


class Snapshots(Protocol):
    """Snapshots of data disks, and their manifests."""

    def get(self, name: str) -> SnapshotSeen | Absent:
        """One snapshot."""

    def create(self, name: str, source: InstanceRef, labels: Mapping[str, str]) -> None:
        """Start one of the instance's data disk; there already is success. It is done when it is seen READY."""

    def delete(self, name: str) -> None:
        """Start to delete one; gone already is done."""

    def rows(self) -> Iterator[SnapshotSeen]:
        """All that carry our labels."""

    def write_manifest(self, user_key: UserKey, manifest: WriteManifest) -> None:
        """Write the object `manifests/<user_key>/<snapshot>.json`; the same content twice is the same object."""

    def manifests(self, user_key: UserKey) -> Iterator[str]:
        """Return the snapshots of which a person has manifests."""

    def forget_manifest(self, user_key: UserKey, name: str) -> None:
        """Delete the manifest of a snapshot; a missing one is not an error."""


class Clusters(Protocol):
    """The people's Spark clusters."""

    def of(self, user_key: UserKey) -> tuple[Cluster, ...]:
        """All that carry this person's label, in whatever state."""

    def create(self, record: UserRecord, action: CreateCluster) -> str:
        """Start a create from the person's rendered template; the operation's name, empty when it is there already and ours.

        `NotOursError` when it is somebody else's.
        """

    def operation(self, name: str) -> ClusterOperationSeen | Absent:
        """Return an operation by name."""

    def delete(self, name: str) -> None:
        """Start to delete one; gone or going already is done. `BusyError` while it is being made or changed."""


class SessionTemplates(Protocol):
    """Templates of serverless Spark sessions, which belong to profiles."""

    def render(self, offer: SessionOffer) -> WantedSession:
        """Return what the configuration makes of an offer. `InvalidSpecError` when its master is wrong."""

    def rows(self) -> Iterator[SessionSeen]:
        """All of the project's region, others' too."""

    def create(self, wanted: WantedSession) -> None:
        """Make it; there already and ours is success. `NotOursError` when it is somebody else's."""

    def update(self, wanted: WantedSession) -> None:
        """Replace what it says; gone is left to the next sweep."""

    def remove(self, session_id: str) -> None:
        """Gone already is done."""


class LiveSessions(Protocol):
    """Serverless Spark sessions that run."""

    def of(self, owner: SessionOwner) -> tuple[str, ...]:
        """Return the ids of this owner's sessions that run or are being made."""

    def end(self, name: str) -> None:
        """Start to terminate one; gone, ending or ended already is done."""


class FleetAbout(Struct, frozen=True):
    """A list without its rows, and the figures of them; None if an earlier version wrote it."""

    fleet: FleetSnapshot
    figures: Figures | None

    @property
    def taken_at(self) -> datetime:
        """Return when the list was taken."""
        return self.fleet.taken_at


class FleetDraft(Protocol):
    """A list of the fleet in the making. It holds its rows packed, whatever their number."""

    def add(self, listed: ListedRow) -> None:
        """Take in a row; no call."""

    def write(self, about: FleetSnapshot, figures: Figures) -> None:
        """Write it: the rows that were added, and all else as `about` says, whose rows do not count. A newer list stays.

        `figures` are those of these rows.
        """


class FleetIndex(Protocol):
    """The fleet at one moment, kept in one object, and what people's own pages tell of it in another.

    Reads are kept in the process: what did not change since is not read again.
    """

    def fleet(self) -> FleetSnapshot | None:
        """Return the newest one, None before the first sweep."""

    def about(self) -> FleetAbout | None:
        """Return the newest one without its rows: what the next sweep has to know of it, and what the overview shows."""

    def draft(self) -> FleetDraft:
        """Begin a list, which takes its rows one by one."""

    def notes(self) -> Notes | None:
        """Return the newest ones, None before the first sweep."""

    def notes_about(self, user_key: UserKey) -> Notes | None:
        """Return the same as far as it is about one person."""

    def write_fleet(self, fleet: FleetSnapshot) -> None:
        """Take the place of an older one; a newer one stays."""

    def write_notes(self, notes: Notes) -> None:
        """Take the place of older ones; newer ones stay."""


class Costs(Protocol):
    """What people cost, by the labels on the bill."""

    def month(self, month: str) -> Mapping[UserKey, float] | None:
        """By person for a month (`2026-11`), in the bill's currency; None where no billing export is configured."""


class SignIn(Protocol):
    """Who asks for a page."""

    def identify(self, headers: Mapping[str, str]) -> UserEmail:
        """Return the person whom Identity-Aware Proxy signed for. `NotSignedInError` for everything else."""

    def assertion(self, headers: Mapping[str, str]) -> str:
        """Return the signed header's value, not yet verified, so that it can be kept with a wish."""

    def subject_of(self, assertion: str, at: datetime) -> UserEmail:
        """Return the person for whom an assertion was signed that was used at `at`; `NotSignedInError` otherwise."""


class Inbox(Protocol):
    """Wishes of the page that wait to be taken up. The page may create and read them; only who takes them up may remove them."""

    def put(self, wish: Wish) -> None:
        """Create the wish's object. Idempotent: the same wish is created once. Nothing is ever overwritten."""

    def waiting(self, user_key: UserKey) -> tuple[WaitingWish, ...]:
        """Return what waits for one person, in the order of creation; the oldest ones where there are very many."""

    def read(self, waiting: WaitingWish) -> bytes | None:
        """Return the object's content, which anybody who may create objects wrote; None if the object is gone."""

    def remove(self, waiting: WaitingWish) -> None:
        """Remove the object; a missing one is not an error."""

    def folders(self) -> InboxFolders:
        """Return for whom something waits, by one listing."""


class Decisions(Protocol):
    """Decisions of the page about many people. The page may create and read them; only who takes them up may remove them."""

    def put(self, decision: Decision, *, by: str = "") -> None:
        """Create the decision's object. Idempotent; nothing is ever overwritten. `by` is noted beside it, for pages alone."""

    def put_list(self, content: bytes) -> str:
        """Keep a frozen list, and return its digest. Idempotent."""

    def waiting(self) -> tuple[WaitingDecision, ...]:
        """Return what waits, in the order of creation; the oldest ones where there are very many."""

    def read(self, waiting: WaitingDecision) -> bytes | None:
        """Return the object's content, which anybody who may create objects wrote; None if the object is gone."""

    def read_list(self, digest: str) -> bytes | None:
        """Return the list with this digest; None if there is none."""

    def remove(self, waiting: WaitingDecision) -> None:
        """Remove the object; a missing one is not an error."""


class Wake(Protocol):
    """Asks for a pass without waiting for it."""

    def __call__(self, user_key: UserKey) -> None:
        """Ask for a pass soon; when this fails the tick comes to it within a minute."""


class Templates(Protocol):
    """The users' rendered template objects."""

    def seen(self, user_key: UserKey) -> TemplatesSeen:
        """Return what is there for one user."""

    def put(self, record: UserRecord, action: PutTemplate) -> None:
        """Render the master for this user and write the object."""

    def remove(self, user_key: UserKey, template: str) -> None:
        """Remove one object; not being there is fine."""

    def rows(self) -> Iterator[tuple[UserKey, str, str]]:
        """(user, template, digest) of all objects."""


class Vm(Protocol):
    """A machine that evidence is asked of."""

    @property
    def ref(self) -> InstanceRef:
        """The instance."""

    @property
    def gce_instance_id(self) -> str:
        """The VM's numeric id; empty: not known."""


class ActivitySource(Protocol):
    """Evidence of use."""

    def read(self, notebooks: Sequence[Vm], window: timedelta, now: datetime) -> Mapping[str, Activity]:
        """Evidence per instance id over the last `window`, put together when it is asked for; an instance of which nothing could be read carries that in its evidence."""


class DeadLetters(Protocol):
    """Messages that cannot succeed."""

    def publish(self, *, body: bytes, attributes: Mapping[str, str]) -> None:
        """Put a message on the dead-letter topic."""

    def store(self, letter: DeadLetter) -> None:
        """Keep one where `rows` finds it; storing the same letter twice keeps the first."""

    def rows(self, *, since: datetime | None = None, until: datetime | None = None) -> Iterator[LetterRow]:
        """All that are kept and were sent in [since, until), oldest first, as far as a listing tells."""

    def read(self, row: LetterRow) -> DeadLetter:
        """Return the whole letter of a row."""

    def mark_replayed(self, row: LetterRow, at: datetime, outcome: str) -> None:
        """Note that it was used after all, when, and what came of it; the letter itself is kept."""

    def note_marked(self, row: LetterRow) -> None:
        """Note that the records of all whom it names are marked."""

    def note_try(self, row: LetterRow, *, reason: str, detail: str) -> None:
        """Note a replay that failed: `row` has the new `tries` and `next_try_at`, `reason` and `detail` say why from now on."""

    def forget(self, row: LetterRow) -> None:
        """Delete a letter; a missing one is not an error."""


class Relay(Protocol):
    """Publishes messages to the topics of sources: parts of a batch, and log entries on their way to the directory's topic."""

    def __call__(self, topic: str, body: bytes, attributes: Mapping[str, str]) -> None:
        """Return when Pub/Sub has the message; `topic` is an id."""


class Workers(Protocol):
    """Runs jobs that do not depend on each other. Only this port starts threads, so that a simulator can order them."""

    def run(self, jobs: Sequence[Callable[[], T]], *, at_once: int = 8) -> list[T]:
        """Run all jobs, at most `at_once` at a time, and return their results in the order of the jobs.

        An exception of a job is raised; jobs that have not begun by then are left out.
        """


class Log(Protocol):
    """Structured log: a constant message and facts."""

    def info(self, message: str, **facts: Any) -> None:
        """Log normal work."""

    def warning(self, message: str, **facts: Any) -> None:
        """Worth a look."""

    def error(self, message: str, **facts: Any) -> None:
        """Somebody must act."""


class Deps(Struct, frozen=True, kw_only=True):
    """Everything that the engine works with; put together by `shared.wiring`, or by a test.

    `base_policy` is that of the process's own files; judged is by `policy`.
    `deployed` is who deployed these files, and when, if that is known. The members of `admin_group` may ask for things about others; None: nobody may.
    """

    records: Records
    notebooks: Notebooks
    templates: Templates
    accounts: Accounts
    groups: Groups
    snapshots: Snapshots
    clusters: Clusters
    sessions: SessionTemplates
    live_sessions: LiveSessions
    fleet: FleetIndex
    costs: Costs
    activity: ActivitySource
    dead_letters: DeadLetters
    inbox: Inbox
    decisions: Decisions
    sign_in: SignIn
    clock: Clock
    log: Log
    workers: Workers
    books: GroupBooks
    guard: Guard
    persons: Persons
    relay: Relay
    policies: Policies
    base_policy: Policy
    deployed: Noted | None = None
    admin_group: str | None = None
    # The book that was read last, and the policy with it: it is asked for many times in a pass.
    _sorted: dict[str, tuple[GroupBook, Policy, Policy]] = field(default_factory=dict)

    @property
    def policy(self) -> Policy:
        """The policy in force, whatever files this process was deployed with, with what became of the groups."""
        base, book = self.policies.in_force(self.base_policy), self.books.current()
        if not book.events and not book.others:
            return base
        known = self._sorted.get("book")
        if known is None or known[0] is not book or known[1] is not base:
            known = (book, base, self.with_book(base))
            self._sorted["book"] = known
        return known[2]

    def with_book(self, policy: Policy) -> Policy:
        """Return a policy, in force or not, with what became of the groups that it assigns."""
        assigned = frozenset(each.group for each in policy.catalog.assignments)
        return replace(policy, book=self.books.current().sorted_for(assigned))
