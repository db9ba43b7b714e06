"""What every adapter promises, proven against its simulator.

An adapter's test module subclasses `ProviderContract` and gives it a `platform` fixture: a simulator
with a hand to prepare it and an eye that sees the truth.
"""

import asyncio
import logging
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

import pytest

from paastis.app import Formation, Identity, Observation, Process, Snapshot
from paastis.errors import AnswerLost, Busy, ProviderError, RateLimited, Unauthorized, Unavailable
from paastis.providers.port import Inspection, OpenOperation, Progress, Provider, Remote, Urgency

DEADLINE = 10.0  # seconds until a state must have been reached
WHOLE: Formation = (Process("web", 2, "M"), Process("worker", 1, "S"), Process("clock", 0, "S"))


def now() -> datetime:
    return datetime.now(UTC)


class Platform(Protocol):
    """A simulated provider, seen from outside. All faults befall calls from now on."""

    secret: str
    """The credential; it must never be seen."""

    def provider(self) -> Provider: ...
    def stranger(self) -> Provider:
        """With a credential that the platform refuses."""
        ...

    def add(self, name: str, formation: Formation) -> Remote: ...
    def delete(self, app: Remote) -> None: ...
    def formation(self, app: Remote) -> Formation: ...
    def changing_calls(self) -> int: ...
    def drop_next_change(self, *, after_effect: bool) -> None: ...
    def be_down(self, *, page: bool) -> None:
        """Every call answers 503, with a page of markup or with the API's own words."""
        ...

    def throttle(self, seconds: int) -> None:
        """Every call answers that there were too many, and to be silent for that long."""
        ...

    def refuse_connections(self) -> Provider:
        """An adapter whose platform listens nowhere."""
        ...

    def fail_next_operation(self, words: str) -> None: ...


async def ended(provider: Provider, app: Remote, ref: str | None) -> tuple[Progress, str]:
    """Follow an operation to its end."""
    if ref is None:
        return Progress.DONE, ""
    async with asyncio.timeout(DEADLINE):
        while True:
            followed = (await provider.follow([OpenOperation(app, ref)]))[ref]
            if followed.progress is not Progress.RUNNING:
                return followed.progress, followed.message
            await asyncio.sleep(0.01)


async def look(provider: Provider, app: Remote, *, autoscaled: bool = False) -> Inspection:
    return await provider.inspect(app, urgency=Urgency.STOP, autoscaled=autoscaled)


class ProviderContract:
    async def test_listing_tells_every_app_with_its_address(self, platform: Platform) -> None:
        app = platform.add("listed", WHOLE)
        provider = platform.provider()
        before = now()
        listing = await provider.list_apps()
        assert listing.complete
        assert listing.problems == ()
        assert before <= listing.sent_at <= now()
        found = {one.app_id: one for one in listing.apps}[app.identity.app_id]
        assert found.app_name == "listed"
        assert found.region == app.identity.region
        assert found.url is not None
        assert not found.url.endswith("/")
        assert found.hosts
        assert all(host == host.lower() for host in found.hosts)
        assert found.unmanaged is None

    async def test_deleted_app_is_not_listed_and_missing(self, platform: Platform) -> None:
        app = platform.add("deleted", WHOLE)
        provider = platform.provider()
        assert (await look(provider, app)).state is Observation.RUNNING
        platform.delete(app)
        listing = await provider.list_apps()
        assert app.identity.app_id not in {one.app_id for one in listing.apps}
        assert (await look(provider, app)).state is Observation.MISSING

    async def test_app_is_named_by_its_id_and_not_by_its_name(self, platform: Platform) -> None:
        app = platform.add("renamed-meanwhile", WHOLE)
        other = platform.add("other", WHOLE)
        mistaken = replace(app, app_name=other.app_name)
        await platform.provider().stop(mistaken, WHOLE)
        assert platform.formation(other) == WHOLE

    async def test_close_look_tells_the_formation_with_types_at_0(self, platform: Platform) -> None:
        app = platform.add("looked-at", WHOLE)
        before = now()
        seen = await look(platform.provider(), app)
        assert seen.state is Observation.RUNNING
        assert seen.formation == WHOLE
        assert before <= seen.sent_at <= now()
        assert not seen.deploying
        assert seen.unmanaged is None

    async def test_app_sleeps_and_comes_back_exactly(self, platform: Platform) -> None:
        app = platform.add("sleeper", WHOLE)
        provider = platform.provider()
        seen = await look(provider, app, autoscaled=True)
        receipt = await provider.stop(app, seen.formation)
        assert await ended(provider, app, receipt.ref) == (Progress.DONE, "")
        asleep = await look(provider, app)
        assert asleep.state is Observation.STOPPED
        assert all(process.amount == 0 for process in platform.formation(app))

        snapshot = Snapshot(seen.sent_at, seen.formation, seen.autoscalers)
        receipt = await provider.start(app, snapshot, urgency=Urgency.VISITOR)
        assert await ended(provider, app, receipt.ref) == (Progress.DONE, "")
        assert (await look(provider, app)).state is Observation.RUNNING
        assert platform.formation(app) == WHOLE

    async def test_stopping_what_is_stopped_is_success(self, platform: Platform) -> None:
        app = platform.add("stopped-twice", WHOLE)
        provider = platform.provider()
        await ended(provider, app, (await provider.stop(app, WHOLE)).ref)
        assert (await provider.stop(app, WHOLE)).ref is None

    async def test_starting_what_runs_is_success(self, platform: Platform) -> None:
        app = platform.add("started-twice", WHOLE)
        provider = platform.provider()
        receipt = await provider.start(app, Snapshot(now(), WHOLE), urgency=Urgency.SCHEDULED)
        assert await ended(provider, app, receipt.ref) == (Progress.DONE, "")
        assert platform.formation(app) == WHOLE

    async def test_app_that_an_operation_holds_is_busy(self, platform: Platform) -> None:
        app = platform.add("held", WHOLE)
        provider = platform.provider()
        receipt = await provider.stop(app, WHOLE)
        with pytest.raises(Busy):
            await provider.start(app, Snapshot(now(), WHOLE), urgency=Urgency.VISITOR)
        assert (await look(provider, app)).state is Observation.STOPPING
        await ended(provider, app, receipt.ref)

    async def test_failed_operation_tells_the_providers_words(self, platform: Platform) -> None:
        app = platform.add("failing", WHOLE)
        provider = platform.provider()
        platform.fail_next_operation("quota of operations exceeded")
        receipt = await provider.stop(app, WHOLE)
        progress, words = await ended(provider, app, receipt.ref)
        assert progress is Progress.FAILED
        assert "quota of operations exceeded" in words

    async def test_operation_that_nobody_knows_is_unknown(self, platform: Platform) -> None:
        app = platform.add("unknown-operation", WHOLE)
        progress, _ = await ended(platform.provider(), app, "5ed0fe5d884fef000f5e4fff")
        assert progress is Progress.UNKNOWN

    async def test_many_operations_are_followed_together(self, platform: Platform) -> None:
        apps = [platform.add(f"together-{number}", WHOLE) for number in range(3)]
        provider = platform.provider()
        refs = [(await provider.stop(app, WHOLE)).ref or "" for app in apps]
        operations = [OpenOperation(app, ref) for app, ref in zip(apps, refs, strict=True)]
        async with asyncio.timeout(DEADLINE):
            while True:
                followed = await provider.follow(operations)
                assert set(followed) == set(refs)
                if all(one.progress is Progress.DONE for one in followed.values()):
                    break
                await asyncio.sleep(0.01)
        assert await provider.follow([]) == {}

    @pytest.mark.parametrize("after_effect", [True, False])
    async def test_lost_answer_to_a_change_is_told_and_never_repeated(
        self, platform: Platform, *, after_effect: bool
    ) -> None:
        app = platform.add("lost", WHOLE)
        provider = platform.provider()
        await look(provider, app)
        platform.drop_next_change(after_effect=after_effect)
        with pytest.raises(AnswerLost):
            await provider.stop(app, WHOLE)
        assert platform.changing_calls() == 1
        assert all(process.amount == 0 for process in platform.formation(app)) is after_effect

    @pytest.mark.parametrize("page", [True, False])
    async def test_provider_that_is_down_teaches_nothing(
        self, platform: Platform, *, page: bool
    ) -> None:
        app = platform.add("down", WHOLE)
        provider = platform.provider()
        await look(provider, app)
        platform.be_down(page=page)
        with pytest.raises(Unavailable):
            await provider.list_apps()
        with pytest.raises(Unavailable):
            await look(provider, app)
        with pytest.raises(AnswerLost):
            await provider.stop(app, WHOLE)
        assert await provider.follow([OpenOperation(app, "0" * 24)]) == {}

    async def test_unreachable_provider_certainly_did_nothing(self, platform: Platform) -> None:
        app = platform.add("unreachable", WHOLE)
        provider = platform.refuse_connections()
        with pytest.raises(Unavailable):
            await provider.stop(app, WHOLE)

    async def test_wanted_silence_is_kept(self, platform: Platform) -> None:
        app = platform.add("silenced", WHOLE)
        provider = platform.provider()
        await look(provider, app)
        platform.throttle(33)
        with pytest.raises(RateLimited) as refused:
            await provider.list_apps()
        assert 32 < refused.value.retry_after.total_seconds() <= 33
        calls = platform.changing_calls()
        with pytest.raises(RateLimited):
            await provider.stop(app, WHOLE)
        assert platform.changing_calls() == calls
        state = provider.budget()
        assert state.left == 0
        assert state.blocked_until is not None

    async def test_refused_credential_is_told(self, platform: Platform) -> None:
        app = platform.add("not-ours", WHOLE)
        provider = platform.stranger()
        with pytest.raises(Unauthorized):
            await provider.check()
        with pytest.raises(Unauthorized):
            await provider.list_apps()
        with pytest.raises(Unauthorized):
            await provider.stop(app, WHOLE)
        with pytest.raises(Unauthorized):
            await look(provider, app)

    async def test_app_that_never_was_is_missing(self, platform: Platform) -> None:
        known = platform.add("known", WHOLE)
        ghost = Remote(Identity("a", known.identity.region, "5ed0fe5d884fef000f5e4fff"), "ghost")
        assert (await look(platform.provider(), ghost)).state is Observation.MISSING

    async def test_credential_is_seen_nowhere(
        self, platform: Platform, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        app = platform.add("discreet", WHOLE)
        provider = platform.provider()
        seen = [repr(provider), repr(vars(provider)), await provider.check()]
        await look(provider, app)
        platform.be_down(page=False)
        try:
            await provider.list_apps()
        except ProviderError as error:
            seen += [str(error), repr(error), repr(error.__cause__), repr(error.__context__)]
        try:
            await platform.stranger().check()
        except ProviderError as error:
            seen += [str(error), repr(error)]
        seen += [record.getMessage() for record in caplog.records]
        seen += [repr(vars(record)) for record in caplog.records]
        assert not any(platform.secret in text for text in seen)

    async def test_limits_leave_time_for_a_lease(self, platform: Platform) -> None:
        limits = platform.provider().limits
        assert limits.call_timeout.total_seconds() <= 4
        assert limits.operations >= 1
