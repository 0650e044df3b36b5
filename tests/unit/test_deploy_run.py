"""How a plan is carried out: the order, four at a time, what a failure holds up, what is tried again, and how Ctrl-C ends it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from cli.deploy.failures import DeployError, NotThereError, NotYetError, ThereAlreadyError
from cli.deploy.gcloud import Call, Command, Gcloud
from cli.deploy.run import Done, Outcome, carry_out
from cli.deploy.step import Mark, Step

PATIENCE_S = 20  # only a test that fails waits for so long
PAUSES_S = [1, 2, 4, 8, 16, 30, 60]


class ScriptedGcloud(Gcloud):
    """Keeps what it was told to do; a command with a script gives its next error, or None for success."""

    def __init__(self, script: dict[str, list[DeployError | None]] | None = None) -> None:
        super().__init__("acme-analytics")
        self.done: list[str] = []
        self.meanwhile: Callable[[str], None] = lambda _: None
        self._script = script or {}
        self._list_lock = threading.Lock()

    def do(self, do: Command | Call) -> None:
        assert isinstance(do, tuple)
        name = str(do[0])
        with self._list_lock:
            self.done.append(name)
            waiting = self._script.get(name, [])
            error = waiting.pop(0) if waiting else None
        self.meanwhile(name)
        if error is not None:
            raise error

    def unfired(self) -> dict[str, list[DeployError | None]]:
        return {name: left for name, left in self._script.items() if left}


class NoWaiting(threading.Event):
    """An event that is not waited for: keeps how long somebody wanted to."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses_s: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.pauses_s.append(timeout)
        return self.is_set()


def step(key: str, *, needs: Sequence[str] = (), lane: str = "", work: Sequence[str] | None = None) -> Step:
    commands = [(each,) for each in (work if work is not None else [key])]
    return Step(key=key, mark=Mark.CREATE, because="", work=commands, needs=tuple(needs), lane=lane)


def run(steps: Sequence[Step], gcloud: Gcloud, *, stop: threading.Event | None = None) -> tuple[Outcome, list[str]]:
    """What became of them, and what the screen was told, in order."""
    told: list[str] = []
    outcome = carry_out(
        steps, gcloud,
        started=lambda each: told.append(f"start {each.key}"),
        ended=lambda done: told.append(f"end {done.step.key}"),
        stop=stop or NoWaiting(),
    )  # fmt: skip
    return outcome, told


def by_key(outcome: Outcome) -> dict[str, Done]:
    return {done.step.key: done for done in outcome.done}


# ---- order


def test_a_step_comes_after_the_key_and_after_the_whole_kind_that_it_needs():
    gcloud = ScriptedGcloud()
    steps = [
        step("job a", needs=["function"]),
        step("function b", needs=["topic t", "account"]),
        step("function a", needs=["topic t", "account"]),
        step("account y"), step("account x"), step("topic t"), step("topic u"),
    ]  # fmt: skip
    outcome, told = run(steps, gcloud)
    assert not outcome.failed
    assert sorted(gcloud.done) == sorted(each.key for each in steps)
    for early, late in [
        ("account x", "function a"), ("account y", "function b"), ("topic t", "function a"), ("function a", "job a"),
        ("function b", "job a"),
    ]:  # fmt: skip
        assert told.index(f"end {early}") < told.index(f"start {late}")


def test_what_a_plan_does_not_have_is_not_waited_for():
    outcome, _ = run([step("function a", needs=["topic gone", "account", "nothing"])], ScriptedGcloud())
    assert [done.step.key for done in outcome.done] == ["function a"]


def test_only_steps_that_change_something_run():
    gcloud = ScriptedGcloud()
    idle = [Step(key=f"x {mark.name}", mark=mark, because="", work=[("no",)]) for mark in (Mark.SAME, Mark.KEEP)]
    outcome, told = run([*idle, step("y a", needs=["x"])], gcloud)
    assert gcloud.done == ["y a"]
    assert told == ["start y a", "end y a"]
    assert len(outcome.done) == 1


def test_four_at_once_and_never_more():
    gcloud, four, lock = ScriptedGcloud(), threading.Barrier(4), threading.Lock()
    running: Counter[str] = Counter()
    most = []

    def meanwhile(_: str) -> None:
        with lock:
            running["now"] += 1
            most.append(running["now"])
        four.wait(PATIENCE_S)  # comes on only when four are here
        with lock:
            running["now"] -= 1

    gcloud.meanwhile = meanwhile
    outcome, _ = run([step(f"x {number}") for number in range(12)], gcloud)
    assert not outcome.failed
    assert max(most) == 4


def test_steps_of_one_lane_never_overlap_and_those_of_two_do():
    gcloud, two, lock = ScriptedGcloud(), threading.Barrier(2), threading.Lock()
    busy: Counter[str] = Counter()
    overlaps = []

    def meanwhile(name: str) -> None:
        lane = name[0]
        with lock:
            busy[lane] += 1
            if busy[lane] > 1:
                overlaps.append(name)
        two.wait(PATIENCE_S)  # one of each lane
        with lock:
            busy[lane] -= 1

    gcloud.meanwhile = meanwhile
    outcome, _ = run([step(f"{lane} {number}", lane=lane) for lane in "pb" for number in range(4)], gcloud)
    assert not outcome.failed
    assert len(gcloud.done) == 8
    assert overlaps == []


# ---- failures


def refused(text: str = "no") -> DeployError:
    return DeployError(text, "mend it")


def test_a_failure_holds_up_only_what_needs_it_and_says_by_which():
    gcloud = ScriptedGcloud({"topic t": [refused()]})
    steps = [
        step("topic t"), step("topic u"), step("sink s", needs=["topic t"]), step("sink v", needs=["topic u"]),
        step("account a"), step("function f", needs=["topic t", "account"]),
    ]  # fmt: skip
    outcome, told = run(steps, gcloud)
    assert sorted(gcloud.done) == ["account a", "sink v", "topic t", "topic u"]
    ended = by_key(outcome)
    assert [done.step.key for done in outcome.failed] == ["topic t"]
    assert ended["topic t"].error is not None
    assert ended["topic t"].error.cause == "no"
    assert {done.step.key: done.blocked_by for done in outcome.left} == {"sink s": "topic t", "function f": "topic t"}
    assert {"end sink s", "end function f"} <= set(told)
    assert {"start sink s", "start function f"}.isdisjoint(told)


def chain() -> list[Step]:
    return [
        step("role r"), step("access a", needs=["role"]), step("function f", needs=["access"]),
        step("caller f", needs=["function f"]),
    ]  # fmt: skip


def test_a_failure_holds_up_what_needs_what_needs_it_and_names_the_one_that_failed():
    outcome, _ = run(chain(), ScriptedGcloud({"role r": [refused()]}))
    left = {done.step.key: done.blocked_by for done in outcome.left}
    assert left == {"access a": "role r", "function f": "role r", "caller f": "role r"}


def test_everything_that_needs_a_kind_waits_for_the_next_run_when_one_of_it_failed():
    steps = [step("account a"), step("account b"), step("function f", needs=["account"])]
    outcome, _ = run(steps, ScriptedGcloud({"account b": [refused()]}))
    assert [(done.step.key, done.blocked_by) for done in outcome.left] == [("function f", "account b")]


def test_an_error_ends_a_step_where_it_is():
    gcloud = ScriptedGcloud({"second": [refused()]})
    outcome, _ = run([step("x a", work=["first", "second", "third"])], gcloud)
    assert gcloud.done == ["first", "second"]
    assert len(outcome.failed) == 1


def test_commands_that_cannot_be_worked_out_are_an_error_of_the_step():
    def work() -> list[Command | Call]:
        raise refused("no trigger")

    gcloud = ScriptedGcloud()
    outcome, _ = run([Step(key="delivery f", mark=Mark.CHANGE, because="", work=[work, ("after",)])], gcloud)
    assert gcloud.done == []
    assert [done.error.cause for done in outcome.failed if done.error] == ["no trigger"]


# ---- patience


def not_yet() -> NotYetError:
    return NotYetError("not known yet", "again")


def test_what_is_not_known_yet_is_tried_again_from_the_command_that_failed():
    gcloud, stop = ScriptedGcloud({"second": [not_yet(), not_yet(), None]}), NoWaiting()
    outcome, _ = run([step("x a", work=["first", "second", "third"])], gcloud, stop=stop)
    assert gcloud.done == ["first", "second", "second", "second", "third"]
    assert stop.pauses_s == PAUSES_S[:2]
    assert not outcome.failed


def test_commands_that_depend_on_earlier_steps_are_worked_out_again_until_they_can_be():
    tries = [not_yet(), not_yet()]

    def work() -> list[Command | Call]:
        if tries:
            raise tries.pop()
        return [("a",), ("b",)]

    gcloud = ScriptedGcloud()
    outcome, _ = run([Step(key="writer s", mark=Mark.CREATE, because="", work=[("first",), work, ("last",)])], gcloud)
    assert gcloud.done == ["first", "a", "b", "last"]
    assert not outcome.failed


def test_what_was_worked_out_is_worked_out_again_as_a_whole_and_what_came_before_is_not_done_again():
    """It looks at what is there: what a lost answer had made is not made twice."""
    made: list[str] = []

    def work() -> list[Command | Call]:
        return [(name,) for name in ("a", "b", "c") if name not in made]

    gcloud = ScriptedGcloud({"b": [not_yet()]})
    gcloud.meanwhile = made.append  # whatever the answer is
    stop = NoWaiting()
    outcome, _ = run(
        [Step(key="alert s", mark=Mark.CREATE, because="", work=[("first",), work, ("last",)])], gcloud, stop=stop
    )
    assert gcloud.done == ["first", "a", "b", "c", "last"]
    assert stop.pauses_s == PAUSES_S[:1]
    assert gcloud.unfired() == {}
    assert not outcome.failed


def test_nothing_is_worked_out_before_what_comes_before_it_is_done():
    gcloud = ScriptedGcloud()
    seen: list[list[str]] = []

    def work() -> list[Command | Call]:
        seen.append(list(gcloud.done))
        return [("update",)]

    run([Step(key="function f", mark=Mark.CHANGE, because="", work=[("deploy",), work])], gcloud)
    assert seen == [["deploy"]]
    assert gcloud.done == ["deploy", "update"]


def gone() -> NotThereError:
    return NotThereError("it is not there", "again")


def test_what_was_to_be_deleted_and_is_gone_is_done():
    gcloud = ScriptedGcloud({"delete": [gone()]})
    steps = [Step(key="job a", mark=Mark.DELETE, because="", work=[("delete",)]), step("x b", needs=["job a"])]
    outcome, _ = run(steps, gcloud)
    assert gcloud.done == ["delete", "x b"]
    assert by_key(outcome)["job a"].note == "it was already deleted"
    assert not outcome.failed


def test_what_was_to_be_changed_and_is_gone_is_a_failure():
    outcome, _ = run([step("x a")], ScriptedGcloud({"x a": [gone()]}))
    assert [type(done.error) for done in outcome.failed] == [NotThereError]


def test_patience_has_an_end():
    gcloud, stop = ScriptedGcloud({"x a": [not_yet() for _ in range(8)]}), NoWaiting()
    outcome, _ = run([step("x a")], gcloud, stop=stop)
    assert stop.pauses_s == PAUSES_S
    assert len(gcloud.done) == 8
    assert gcloud.unfired() == {}
    assert [type(done.error) for done in outcome.failed] == [NotYetError]


def there() -> ThereAlreadyError:
    return ThereAlreadyError("it exists", "again")


def test_what_exists_after_a_lost_answer_was_made():
    gcloud = ScriptedGcloud({"create": [not_yet(), there()]})
    outcome, _ = run([step("x a", work=["create", "label"])], gcloud)
    assert gcloud.done == ["create", "create", "label"]
    assert not outcome.failed


def test_what_somebody_else_made_meanwhile_is_said_to_be_compared_next_time():
    gcloud = ScriptedGcloud({"create": [there()]})
    outcome, _ = run([step("x a", work=["create", "label"]), step("y a", needs=["x a"])], gcloud)
    assert gcloud.done == ["create", "label", "y a"]
    assert not outcome.failed
    assert by_key(outcome)["x a"].note == "it existed already: the next run compares it"
    assert by_key(outcome)["y a"].note == ""


# ---- the end


def test_after_a_stop_what_runs_comes_to_its_end_and_nothing_begins():
    gcloud, stop = ScriptedGcloud(), NoWaiting()
    four = threading.Barrier(4)

    def meanwhile(_: str) -> None:
        four.wait(PATIENCE_S)
        stop.set()

    gcloud.meanwhile = meanwhile
    steps = [*(step(f"x {number}") for number in range(6)), step("y a", needs=["x"])]
    outcome, told = run(steps, gcloud, stop=stop)
    assert len(gcloud.done) == 4
    assert sorted(line for line in told if line.startswith("start ")) == [
        f"start {name}" for name in sorted(gcloud.done)
    ]
    assert not outcome.failed
    left = {done.step.key: done.blocked_by for done in outcome.left}
    assert left == dict.fromkeys({each.key for each in steps} - set(gcloud.done), "a run that is not stopped")
    assert all(told.count(f"end {each.key}") == 1 for each in steps)


def test_a_stop_ends_the_patience():
    gcloud, stop = ScriptedGcloud({"x a": [not_yet()]}), NoWaiting()
    gcloud.meanwhile = lambda _: stop.set()
    outcome, _ = run([step("x a"), step("x b", needs=["x a"])], gcloud, stop=stop)
    assert gcloud.done == ["x a"]
    assert [done.step.key for done in outcome.failed] == ["x a"]


def test_a_stop_before_the_start_does_nothing():
    gcloud, stop = ScriptedGcloud(), NoWaiting()
    stop.set()
    outcome, told = run([step("x a")], gcloud, stop=stop)
    assert (gcloud.done, told) == ([], ["end x a"])
    assert [done.step.key for done in outcome.left] == ["x a"]


def test_steps_that_wait_for_each_other_are_a_fault_of_the_plan():
    with pytest.raises(AssertionError, match=r"wait for each other: \['x a', 'x b'\]"):
        run([step("x a", needs=["x b"]), step("x b", needs=["x a"])], ScriptedGcloud())


def test_two_steps_of_one_key_are_a_fault_of_the_plan():
    with pytest.raises(AssertionError, match="two steps have one key"):
        run([step("x a"), step("x a")], ScriptedGcloud())


def test_nothing_to_do():
    assert run([], ScriptedGcloud())[0].done == []
