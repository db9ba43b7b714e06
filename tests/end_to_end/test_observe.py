"""`paastis run --observe` and `paastis check`: everything is shown, nothing is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.end_to_end.programs import BROWSER, QUICK, throughout

if TYPE_CHECKING:
    from tests.end_to_end.conftest import NewWorld


async def test_observing_for_several_idle_times_changes_nothing_and_tells_what_would_sleep(
    new_world: NewWorld,
) -> None:
    async with new_world() as world:
        before = await world.sim.apps()
        paastis = await world.run("--observe", **QUICK)
        soon = await paastis.cli("apps")

        async def untouched() -> bool:
            return await world.sim.changing_calls() == []

        await throughout(untouched, what="nothing is changed", seconds=9)
        assert (await paastis.visit("my-app")).status == 200
        asleep = await paastis.visit("old-prototype", headers=BROWSER)
        assert asleep.status == 503
        records = await paastis.records()
        then = await paastis.cli("apps")

        assert await untouched()
        after = await world.sim.apps()
        assert {name: one["formation"] for name, one in after.items()} == {
            name: one["formation"] for name, one in before.items()
        }
        assert records["my-app"]["sleeps_at"] is not None
        told = {one["type"]: one["status"] for one in records["storybook"]["conditions"]}
        assert told["WouldSleep"] is True
        assert records["storybook"]["sleeps_at"] is not None
        assert records["old-prototype"]["sleeps_at"] is None
        row = next(line for line in then.stdout.splitlines() if line.startswith("storybook "))
        assert "WouldSleep" in row
        assert "now" in row
        early = next(line for line in soon.stdout.splitlines() if line.startswith("storybook "))
        assert "in " in early or "now" in early
        assert "Observing: nothing is stopped or started." in paastis.output


async def test_check_tells_what_each_rule_matches_and_what_would_sleep_and_changes_nothing(
    new_world: NewWorld,
) -> None:
    rules = "rules:\n  - pattern: 'app-review-.*'\n    app_max_idle_time: 5\n"
    async with new_world() as world:
        paastis = world.prepare(rules=rules)
        told = await paastis.cli("check")

        assert told.returncode == 0, told.stderr
        assert "app-review-pr42-back, app-review-pr42-front" in told.stdout
        row = next(
            line for line in told.stdout.splitlines() if line.startswith("app-review-pr42-b")
        )
        assert "sleep after 5m" in row
        row = next(line for line in told.stdout.splitlines() if line.startswith("old-prototype"))
        assert "until a visitor comes" in row
        assert await world.sim.changing_calls() == []
        assert not (world.directory / "paastis.db").exists()
        assert sorted(file.name for file in world.directory.iterdir()) == [
            "paastis.yml",
            "simulator.log",
        ]


async def test_check_of_a_provider_that_does_not_answer_ends_with_1(new_world: NewWorld) -> None:
    async with new_world() as world:
        await world.sim.fault("**", answer={"status": 503})
        told = await world.prepare().cli("check")

        assert told.returncode == 1
        assert "could not be asked" in told.stdout
        assert "Traceback" not in told.stdout + told.stderr
