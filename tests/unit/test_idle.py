"""The idle rule by a table of cases, and by properties that hold for any evidence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from shared.domain.fleet.idle import (
    Activity,
    IdlePolicy,
    Keep,
    Kernel,
    KernelState,
    Reason,
    Sample,
    Silence,
    Stop,
    Terminal,
    Warn,
    judge_idle,
    last_sign,
    last_use,
    stops_at,
)
from shared.engine.sweeps.idle import is_blind
from shared.engine.sweeps.idle_look import for_blindness, is_at_stake

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
POLICY = IdlePolicy(idle_timeout=timedelta(hours=1), cores_busy_at=0.1, warn_idle=timedelta(0))


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def samples(
    value: float, *, upto: float = 4, back: float = 70, every: float = 1, until: datetime = NOW
) -> tuple[Sample, ...]:
    """One a minute from `back` minutes ago up to `upto` minutes ago."""
    count = int((back - upto) / every)
    return tuple(Sample(until - timedelta(minutes=back - n * every), value) for n in range(count + 1))


QUIET_JUPYTER = Activity(
    started_at=ago(600),
    observed_at=ago(1),
    kernels=(Kernel(KernelState.IDLE, ago(120), 1),),
    terminals=(Terminal(ago(130)),),
    sessions=1,
    server_last_activity=ago(120),
    proxy_last_activity=ago(0),
    cpu=samples(0.02),
)
QUIET_METRICS = Activity(started_at=ago(600), cpu=samples(0.01), requests=samples(0))


def test_evidence_is_used_until_it_is_ten_minutes_old():
    """Metrics become visible late, so evidence is used for a while; what is older is none."""
    assert isinstance(judge_idle(replace(QUIET_METRICS, cpu=samples(0.01, upto=10)), POLICY, NOW), Stop)
    for late in (timedelta(seconds=1), timedelta(seconds=59)):
        verdict = judge_idle(replace(QUIET_METRICS, cpu=samples(0.01, upto=10, until=NOW - late)), POLICY, NOW)
        assert isinstance(verdict, Keep)
        assert verdict.reason is Reason.NO_FRESH_EVIDENCE


def test_the_start_of_a_machine_is_no_use_of_it():
    fresh = replace(
        QUIET_JUPYTER, started_at=ago(30), server_last_activity=ago(29), cpu=samples(0.9, upto=28, back=32), kernels=(), terminals=(),
    )  # fmt: skip
    assert last_sign(fresh, POLICY, NOW)[0] is not None
    assert last_use(fresh, POLICY, NOW) is None
    used = replace(fresh, kernels=(Kernel(KernelState.IDLE, ago(27), 1),))
    assert last_use(used, POLICY, NOW) == ago(27)
    assert last_use(QUIET_JUPYTER, POLICY, NOW) == ago(120)
    assert last_use(replace(fresh, started_at=None), POLICY, NOW) == ago(28)


def test_all_quiet_stops_since_the_last_thing_that_happened():
    assert judge_idle(QUIET_JUPYTER, POLICY, NOW) == Stop(ago(120), Reason.IDLE)


def test_metrics_alone_stop_when_they_cover_the_whole_window():
    assert judge_idle(QUIET_METRICS, POLICY, NOW) == Stop(ago(600), Reason.IDLE)


def test_metrics_alone_without_a_known_start_stop_since_the_window():
    assert judge_idle(replace(QUIET_METRICS, started_at=None), POLICY, NOW) == Stop(ago(60), Reason.IDLE)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"started_at": ago(5)}, Reason.STARTED_RECENTLY),
        ({"started_at": ago(30)}, Reason.STARTED_RECENTLY),
        ({"kernels": (Kernel(KernelState.BUSY, ago(300)),)}, Reason.KERNEL_BUSY),
        ({"kernels": (Kernel(KernelState.BUSY, None),)}, Reason.KERNEL_BUSY),
        ({"kernels": (Kernel(KernelState.UNKNOWN, ago(300)),)}, Reason.KERNEL_BUSY),
        ({"kernels": (Kernel(KernelState.IDLE, ago(59)),)}, Reason.KERNEL_ACTIVITY),
        ({"terminals": (Terminal(ago(10)),)}, Reason.TERMINAL_ACTIVITY),
        ({"server_last_activity": ago(10)}, Reason.SERVER_ACTIVITY),
        ({"server_last_activity": ago(-1)}, Reason.SERVER_ACTIVITY),
        ({"cpu": samples(0.5)}, Reason.CPU_BUSY),
        ({"gpu": samples(0.5)}, Reason.GPU_BUSY),
        ({"outside_jobs": ("spark-1",)}, Reason.OUTSIDE_JOB),
        ({"outside_jobs": None}, Reason.NO_FRESH_EVIDENCE),
        ({"gpu": None}, Reason.NO_FRESH_EVIDENCE),
        ({"cpu": None}, Reason.NO_FRESH_EVIDENCE),
        ({"cpu": ()}, Reason.NO_FRESH_EVIDENCE),
        ({"cpu": samples(0.01, back=30)}, Reason.NO_FRESH_EVIDENCE),
        ({"cpu": samples(0.01, upto=20)}, Reason.NO_FRESH_EVIDENCE),
        ({"cpu": samples(0.01, every=8)}, Reason.NO_FRESH_EVIDENCE),
        ({"kernels": None, "proxy_last_activity": None}, Reason.NO_FRESH_EVIDENCE),
        ({"terminals": None, "proxy_last_activity": None}, Reason.NO_FRESH_EVIDENCE),
        ({"observed_at": ago(30), "proxy_last_activity": None}, Reason.NO_FRESH_EVIDENCE),
        ({"observed_at": ago(30), "proxy_last_activity": ago(2)}, Reason.PROXIED_REQUESTS),
    ],
)
def test_what_keeps_an_instance_whose_kernels_are_seen(change, reason):
    verdict = judge_idle(replace(QUIET_JUPYTER, **change), POLICY, NOW)
    assert isinstance(verdict, Keep)
    assert verdict.reason is reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"requests": samples(0, back=70, upto=30)}, Reason.NO_FRESH_EVIDENCE),
        ({"requests": None}, Reason.NO_FRESH_EVIDENCE),
        ({"requests": samples(0, back=70, upto=40) + samples(0, back=20)}, Reason.NO_FRESH_EVIDENCE),
        ({"requests": samples(0, back=70, upto=31) + samples(3, back=30)}, Reason.PROXIED_REQUESTS),
        ({"cpu": samples(0.01, back=70, upto=31) + samples(0.8, back=30)}, Reason.CPU_BUSY),
        ({"blind_since": ago(10)}, Reason.NO_FRESH_EVIDENCE),
    ],
)
def test_what_keeps_an_instance_of_which_only_metrics_are_seen(change, reason):
    verdict = judge_idle(replace(QUIET_METRICS, **change), POLICY, NOW)
    assert isinstance(verdict, Keep)
    assert verdict.reason is reason


def test_a_kernel_busy_for_too_long_without_cpu_is_stuck():
    stuck = replace(QUIET_JUPYTER, started_at=None, kernels=(Kernel(KernelState.BUSY, ago(25 * 60)),))
    assert judge_idle(stuck, POLICY, NOW) == Stop(ago(120), Reason.IDLE)
    computing = replace(stuck, cpu=samples(0.9))
    assert judge_idle(computing, POLICY, NOW) == Keep(Reason.CPU_BUSY, f"at {ago(4).isoformat()}")


def test_pings_through_the_proxy_do_not_keep_what_jupyter_shows_as_idle():
    assert isinstance(judge_idle(replace(QUIET_JUPYTER, requests=samples(50)), POLICY, NOW), Stop)


def blind(hours: float, warned: float | None = None) -> Activity:
    return Activity(blind_since=ago(hours * 60), warned_at=ago(warned) if warned is not None else None)


@pytest.mark.parametrize(
    ("activity", "expected"),
    [
        (blind(1), Keep),
        (blind(22.9), Keep),
        (blind(23), Warn),
        (blind(100), Warn),
        (blind(23.5, warned=30), Keep),
        (blind(24, warned=59), Keep),
        (blind(24, warned=60), Stop),
        (blind(24, warned=25 * 60), Warn),  # that warning was for an earlier blindness
        (replace(blind(48, warned=120), proxy_last_activity=ago(5)), Keep),
        (
            replace(blind(48, warned=120), proxy_last_activity=ago(100)),
            Keep,
        ),  # seen at work since it went blind: begins anew
        (replace(blind(48, warned=120), outside_jobs=("spark",)), Keep),
        (replace(blind(48, warned=120), cpu=samples(0.9)), Keep),
        (Activity(), Keep),
    ],
)
def test_blindness(activity, expected):
    assert isinstance(judge_idle(activity, POLICY, NOW), expected)


def test_a_late_warning_still_leaves_its_time():
    assert judge_idle(blind(100), POLICY, NOW) == Warn(
        NOW + timedelta(hours=1), Reason.MAX_BLIND, f"not seen: cpu, {Silence.NEVER_SEEN}"
    )


@pytest.mark.parametrize(
    "bad",
    [
        {"idle_timeout": timedelta(0)},
        {"max_blind": timedelta(minutes=1)},
        {"grace": timedelta(minutes=-1)},
        {"freshness": timedelta(0)},
    ],
)
def test_a_policy_that_contradicts_itself_is_refused(bad):
    with pytest.raises(ValueError, match="must"):
        replace(POLICY, **bad)


# --- properties

minutes = st.integers(min_value=0, max_value=3000)
moments = st.none() | minutes.map(ago)
kernels = st.builds(Kernel, state=st.sampled_from(KernelState), last_activity=moments, connections=st.none())
many_samples = st.none() | st.builds(
    samples, st.sampled_from([0.0, 0.02, 0.5]), upto=st.sampled_from([0, 4, 30]), back=st.sampled_from([40, 70, 200])
)
activities = st.builds(
    Activity,
    started_at=moments,
    observed_at=moments,
    kernels=st.none() | st.lists(kernels, max_size=3).map(tuple),
    terminals=st.none() | st.lists(moments.map(Terminal), max_size=2).map(tuple),
    server_last_activity=moments,
    proxy_last_activity=moments,
    requests=many_samples,
    cpu=many_samples,
    gpu=st.just(()) | many_samples,
    outside_jobs=st.none() | st.just(()) | st.just(("job",)),
    blind_since=moments,
    warned_at=moments,
)


@given(blind_since=moments, warned_at=moments, started_at=moments)
def test_unknown_evidence_never_stops_before_max_blind_nor_without_a_warning(blind_since, warned_at, started_at):
    activity = Activity(blind_since=blind_since, warned_at=warned_at, started_at=started_at)
    verdict = judge_idle(activity, POLICY, NOW)
    if isinstance(verdict, Stop):
        assert verdict.because is Reason.MAX_BLIND
        assert max(m for m in (blind_since, started_at) if m is not None) <= NOW - POLICY.max_blind
        assert warned_at is not None
        assert warned_at <= NOW - POLICY.warn_before


def test_the_two_warnings_are_told_apart():
    """A sweep counts as blind who was warned for missing evidence, and nobody who was warned because nobody uses it."""
    unseen = judge_idle(blind(23.5, warned=30), POLICY, NOW)
    unused_one = judge_idle(unused(179, warned=29), WARNED, NOW)
    assert (unseen.reason, unused_one.reason) == (Reason.WARNED_BLIND, Reason.WARNED)
    assert [is_blind(each) for each in (unseen, unused_one)] == [True, False]
    assert [for_blindness(each) for each in (unseen, unused_one)] == [True, False]
    assert all(is_at_stake(each) for each in (unseen, unused_one))


@given(activity=activities)
def test_an_idle_stop_needs_known_quiet_for_the_whole_window(activity):
    """An oracle that looks at the evidence only, minute by minute, and knows nothing of the rule's steps."""
    verdict = judge_idle(activity, POLICY, NOW)
    if not isinstance(verdict, Stop) or verdict.because is not Reason.IDLE:
        return
    assert activity.cpu is not None
    window = [s for s in activity.cpu if s.at >= ago(60)]
    assert len(window) >= 40
    assert all(s.value < POLICY.cores_busy_at for s in window)
    assert activity.outside_jobs == ()
    stamps = [k.last_activity for k in activity.kernels or ()] + [t.last_activity for t in activity.terminals or ()]
    stamps += [activity.server_last_activity, activity.started_at]
    assert all(stamp <= ago(60) for stamp in stamps if stamp is not None)
    assert activity.kernels is not None or activity.requests is not None
    assert verdict.since <= ago(60)


def more(activity: Activity, what: str, when: datetime) -> Activity:
    """The same with one more thing happening at `when`; nothing that was unknown becomes known to be quiet."""

    def later(stamp: datetime | None) -> datetime:
        return when if stamp is None else max(stamp, when)

    kernels, terminals = activity.kernels, activity.terminals
    if what == "kernel" and kernels is not None:
        return replace(activity, kernels=tuple(replace(k, last_activity=later(k.last_activity)) for k in kernels))
    if what == "busy" and kernels is not None:
        return replace(activity, kernels=tuple(replace(k, state=KernelState.BUSY) for k in kernels))
    if what == "terminal" and terminals is not None:
        return replace(activity, terminals=tuple(Terminal(later(t.last_activity)) for t in terminals))
    if what in {"cpu", "gpu", "requests"} and getattr(activity, what) is not None:
        raised = tuple(replace(s, value=1.0) if s.at >= when else s for s in getattr(activity, what))
        return replace(activity, **{what: raised})
    change = {
        "server": {"server_last_activity": later(activity.server_last_activity)},
        "proxy": {"proxy_last_activity": later(activity.proxy_last_activity)},
        "job": {"outside_jobs": (*(activity.outside_jobs or ()), "another")},
    }
    return replace(activity, **change.get(what, {}))


@given(
    activity=activities,
    what=st.sampled_from(["kernel", "busy", "terminal", "server", "proxy", "job", "cpu", "gpu", "requests"]),
    when=minutes.map(ago),
)
def test_more_activity_never_turns_keep_into_stop(activity, what, when):
    if isinstance(judge_idle(activity, POLICY, NOW), Stop):
        return
    assert not isinstance(judge_idle(more(activity, what, when), POLICY, NOW), Stop)


@given(first=st.integers(0, 6000), later=st.integers(0, 6000), warned=st.booleans())
def test_blindness_only_gets_worse_with_time(first, later, warned):
    rank = {Keep: 0, Warn: 1, Stop: 2}
    activity = Activity(blind_since=NOW, warned_at=NOW + timedelta(hours=23) if warned else None)
    one, two = (judge_idle(activity, POLICY, NOW + timedelta(minutes=m)) for m in (first, first + later))
    assert rank[type(one)] <= rank[type(two)]


@given(quiet=st.integers(0, 300), longer=st.integers(0, 300))
def test_quiet_that_goes_on_stays_stopped_and_since_does_not_move(quiet, longer):
    def seen(after: int) -> Activity:
        now = NOW + timedelta(minutes=after)
        return replace(QUIET_JUPYTER, server_last_activity=NOW, observed_at=now, cpu=samples(0.01, until=now))

    one, two = (judge_idle(seen(m), POLICY, NOW + timedelta(minutes=m)) for m in (quiet, quiet + longer))
    if isinstance(one, Stop):
        assert one == two == Stop(NOW, Reason.IDLE)
    else:
        assert quiet < 60


# --- when it will be stopped


def test_it_will_be_stopped_when_the_last_sign_of_work_is_old_enough():
    quiet = replace(QUIET_JUPYTER, kernels=(Kernel(KernelState.IDLE, ago(20)),), server_last_activity=ago(25))
    assert stops_at(quiet, POLICY, NOW) == ago(20) + POLICY.idle_timeout


def test_what_is_over_its_time_is_stopped_now():
    assert stops_at(QUIET_JUPYTER, POLICY, NOW) == NOW


def test_the_first_minutes_are_everybodys():
    policy = IdlePolicy(idle_timeout=timedelta(minutes=10), warn_idle=timedelta(0), grace=timedelta(minutes=30))
    fresh = Activity(started_at=ago(12), cpu=samples(0.0, back=25), requests=samples(0, back=25))
    assert stops_at(fresh, policy, NOW) == ago(12) + timedelta(minutes=30)


@pytest.mark.parametrize(
    "activity",
    [
        Activity(started_at=ago(600)),
        replace(QUIET_METRICS, cpu=None),
        replace(QUIET_METRICS, requests=None),
        replace(QUIET_METRICS, blind_since=ago(90)),
        replace(QUIET_JUPYTER, outside_jobs=("job-1",)),
        replace(QUIET_JUPYTER, kernels=(Kernel(KernelState.BUSY, ago(5)),)),
        replace(QUIET_METRICS, started_at=None),
    ],
)
def test_while_it_works_or_cannot_be_seen_no_time_is_promised(activity):
    assert stops_at(activity, POLICY, NOW) is None


@given(minutes=st.integers(0, 59), later=st.integers(0, 200))
def test_the_promise_is_kept(minutes, later):
    """Judged again at any time later with nothing having happened: kept before that moment, stopped from it on."""
    at_work = replace(QUIET_METRICS, cpu=(*samples(0.01, back=70 + 200), Sample(ago(minutes), 0.9)))
    promised = stops_at(at_work, POLICY, NOW)
    assert promised is not None
    then = NOW + timedelta(minutes=later)
    seen = replace(
        at_work,
        cpu=(*at_work.cpu, *samples(0.01, back=later + 70, upto=0, until=then)),
        requests=samples(0, back=later + 70, upto=0, until=then),
    )
    assert isinstance(judge_idle(seen, POLICY, then), Stop) is (then >= promised)


# --- a warning before every stop

WARNED = IdlePolicy(idle_timeout=timedelta(hours=3), cores_busy_at=0.3)


def unused(since: float, *, warned: float | None = None, **changes) -> Activity:
    """Unused since so many minutes ago, with whole evidence of metrics."""
    activity = Activity(
        started_at=ago(since),
        cpu=samples(0.05, back=240),
        requests=None,
        silence=Silence.MEANS_NONE,
        warned_at=ago(warned) if warned is not None else None,
    )
    return replace(activity, **changes)


@pytest.mark.parametrize(
    ("activity", "expected"),
    [
        (unused(149), Keep(Reason.STARTED_RECENTLY, f"at {ago(149).isoformat()}")),
        (unused(150), Warn(NOW + timedelta(minutes=30), Reason.IDLE, f"nothing since {ago(150).isoformat()}")),
        (unused(179, warned=29), Keep(Reason.WARNED, f"nothing since {ago(179).isoformat()}")),
        (unused(180, warned=29), Keep(Reason.WARNED, f"nothing since {ago(180).isoformat()}")),
        (unused(180, warned=30), Stop(ago(180), Reason.IDLE)),
        # A warning that came late leaves its half hour; one from before the last sign is none.
        (unused(600), Warn(NOW + timedelta(minutes=30), Reason.IDLE, f"nothing since {ago(600).isoformat()}")),
        (
            unused(180, warned=200),
            Warn(NOW + timedelta(minutes=30), Reason.IDLE, f"nothing since {ago(180).isoformat()}"),
        ),
    ],
)
def test_nobody_is_stopped_who_was_not_warned_for_half_an_hour(activity, expected):
    assert judge_idle(activity, WARNED, NOW) == expected


@pytest.mark.parametrize("timeout", [10, 30, 59])
def test_a_short_timeout_warns_at_its_half_and_leaves_half_an_hour_all_the_same(timeout):
    policy = IdlePolicy(idle_timeout=timedelta(minutes=timeout), grace=timedelta(0), max_gap=timedelta(minutes=1))
    assert isinstance(judge_idle(unused(timeout / 2 - 1), policy, NOW), Keep)
    warning = judge_idle(unused(timeout / 2), policy, NOW)
    assert isinstance(warning, Warn)
    assert warning.stop_at - NOW >= timedelta(minutes=30)
    assert isinstance(judge_idle(unused(timeout / 2 + 29, warned=29), policy, NOW), Keep)
    assert isinstance(judge_idle(unused(timeout / 2 + 30, warned=30), policy, NOW), Stop)


# --- a counter that writes no zeros


def test_a_counter_without_points_means_no_requests_only_where_it_is_known_to_work():
    quiet = unused(600, warned=60)
    assert isinstance(judge_idle(quiet, WARNED, NOW), Stop)
    for silence in (Silence.NEVER_SEEN, Silence.AGENT_SILENT):
        blind_one = replace(quiet, silence=silence, blind_since=ago(240))
        verdict = judge_idle(blind_one, WARNED, NOW)
        assert verdict == Keep(Reason.NO_FRESH_EVIDENCE, f"not seen: {silence}")


def test_a_single_request_in_the_window_is_use():
    one = unused(600, warned=300, requests=(Sample(ago(100), 1),))
    assert judge_idle(one, WARNED, NOW) == Keep(Reason.PROXIED_REQUESTS, f"at {ago(100).isoformat()}")


@pytest.mark.parametrize(("cores", "kept"), [(0.29, False), (0.3, True), (1.0, True)])
def test_the_processor_counts_in_cores_whatever_the_size_of_the_machine(cores, kept):
    burst = (*samples(0.05, back=240, upto=61), *samples(cores, back=60, upto=50), *samples(0.05, back=49))
    assert isinstance(judge_idle(unused(600, warned=30, cpu=burst), WARNED, NOW), Keep) == kept


@pytest.mark.parametrize(("bytes_a_second", "kept"), [(499_999, False), (500_000, True)])
def test_a_download_in_a_closed_tab_is_work(bytes_a_second, kept):
    moved = (*samples(2_000, back=240, upto=61), *samples(bytes_a_second, back=60))
    verdict = judge_idle(unused(600, warned=30, transfers=moved), WARNED, NOW)
    assert isinstance(verdict, Keep) == kept
    assert not kept or verdict.reason is Reason.TRANSFER


def test_bytes_that_could_not_be_read_keep_and_bytes_that_nobody_asked_for_do_not():
    assert isinstance(judge_idle(unused(600, warned=30, transfers=None), WARNED, NOW), Keep)
    assert isinstance(judge_idle(unused(600, warned=30, transfers=samples(0, back=20)), WARNED, NOW), Keep)
    assert isinstance(judge_idle(unused(600, warned=30, transfers=()), WARNED, NOW), Stop)


@given(
    since=st.integers(0, 900), warned=st.none() | st.integers(0, 900), requests=st.lists(st.integers(0, 240), max_size=3),
    cores=st.floats(0, 16), silence=st.sampled_from(Silence),
)  # fmt: skip
def test_a_stop_always_follows_a_warning_and_a_whole_timeout_without_a_sign(since, warned, requests, cores, silence):
    activity = unused(
        since,
        warned=warned,
        cpu=samples(cores, back=240),
        requests=tuple(Sample(ago(m), 1) for m in sorted(requests, reverse=True)) or None,
        silence=silence,
        blind_since=None if silence is Silence.MEANS_NONE else ago(240),
    )
    verdict = judge_idle(activity, WARNED, NOW)
    if isinstance(verdict, Stop):
        assert silence is Silence.MEANS_NONE or verdict.because is Reason.MAX_BLIND
        assert cores < 0.3
        assert min([since, *requests]) >= 180
        assert warned is not None
        assert 30 <= warned < min([since, *requests])
