"""The original's example rules, on running apps; linked apps keep each other awake."""

import asyncio
from datetime import timedelta

from paastis.app import Phase
from paastis.config import Config, load_config
from paastis.policy import Power
from paastis.reasons import Reason
from paastis.simulate.spec import AppSpec
from tests.controller.conftest import LONG, Setup, installed, until

ORIGINAL = r"""
rules:
  - pattern: 'app-review-pr(\d+)-(back|front)'
    linked_apps:
      - 'app-review-pr$1-front'

  - pattern: 'hello-fastify'
    linked_apps:
      - 'hellofastifydeux'

  - pattern: 'hello-fastify-2'
    app_name: 'hellofastifydeux'

  - pattern: '.*fastify.*'
    app_max_idle_time: 0
"""

NAMES = (
    "app-review-pr42-front",
    "app-review-pr42-back",
    "app-review-pr7-front",
    "hello-fastify",
    "hello-fastify-2",
)


def rules(text: str) -> Config:
    return load_config(
        environ={
            "PROVIDER_NAME": "scalingo",
            "PROVIDER_SCALINGO_API_TOKEN": "tk-us-simulated",
        },
        dotenv={},
        rules_text=text,
        rules_path="paastis.yml",
    )


def setup(text: str = ORIGINAL, idle: timedelta = LONG, names: tuple[str, ...] = NAMES) -> Setup:
    return Setup(apps=tuple(AppSpec(name=name) for name in names), config=rules(text), idle=idle)


async def test_original_rules_shape_the_policies() -> None:
    async with installed(setup()) as installation:
        await until(lambda: len(installation.registry.apps()) == len(NAMES))

        policies = {name: installation.app(name).policy for name in NAMES}
        assert policies["app-review-pr42-back"].linked_apps == ("app-review-pr42-front",)
        assert policies["app-review-pr7-front"].linked_apps == ("app-review-pr7-front",)
        assert policies["hello-fastify-2"].display_name == "hellofastifydeux"
        assert policies["hello-fastify"].max_idle_time == timedelta(0)
        assert policies["app-review-pr7-front"].max_idle_time == LONG


async def test_use_of_the_back_keeps_its_front_awake_but_no_other() -> None:
    names = NAMES[:3]
    async with installed(setup(names=names, idle=timedelta(seconds=0.6))) as installation:
        await until(lambda: len(installation.registry.apps()) == len(names))
        for _ in range(15):
            await installation.access("app-review-pr42-back")
            await asyncio.sleep(0.1)

        assert installation.app("app-review-pr42-back").phase is Phase.AWAKE
        assert installation.app("app-review-pr42-front").phase is Phase.AWAKE
        await installation.phase(Phase.ASLEEP, "app-review-pr7-front")


async def test_front_alone_does_not_keep_the_back_awake() -> None:
    names = NAMES[:2]
    async with installed(setup(names=names, idle=timedelta(seconds=0.6))) as installation:
        await until(lambda: len(installation.registry.apps()) == len(names))

        async def visit() -> None:
            while True:
                await installation.access("app-review-pr42-front")
                await asyncio.sleep(0.1)

        visiting = asyncio.create_task(visit())
        await installation.phase(Phase.ASLEEP, "app-review-pr42-back")
        assert installation.app("app-review-pr42-front").phase is Phase.AWAKE
        visiting.cancel()


async def test_linked_apps_wake_together() -> None:
    async with installed(setup(names=NAMES[:2])) as installation:
        for name in NAMES[:2]:
            await installation.put_to_sleep(name)
        # What a proxy writes for a visitor of the back.
        await installation.ask_wake("app-review-pr42-back")
        await installation.ask_wake("app-review-pr42-front")
        await installation.phase(Phase.AWAKE, "app-review-pr42-back")
        await installation.phase(Phase.AWAKE, "app-review-pr42-front")


async def test_links_by_display_name_and_in_a_circle_hold() -> None:
    text = """
rules:
  - pattern: 'a'
    linked_apps: ['bee']
  - pattern: 'b'
    app_name: 'bee'
    linked_apps: ['c']
  - pattern: 'c'
    linked_apps: ['a']
"""
    short = setup(text, idle=timedelta(seconds=0.6), names=("a", "b", "c"))
    async with installed(short) as installation:
        await until(lambda: len(installation.registry.apps()) == 3)
        for _ in range(15):
            await installation.access("a")
            await asyncio.sleep(0.1)
        assert {app.phase for app in installation.registry.apps().values()} == {Phase.AWAKE}

        for name in "abc":
            await installation.phase(Phase.ASLEEP, name)


async def test_resolution_follows_the_shortest_idle_time_of_the_links() -> None:
    text = """
rules:
  - pattern: 'a'
    app_max_idle_time: 60
    linked_apps: ['b']
  - pattern: 'b'
    app_max_idle_time: 3
"""
    async with installed(setup(text, names=("a", "b"))) as installation:
        await until(lambda: len(installation.registry.apps()) == 2)
        await until(lambda: installation.app("a").policy.access_resolution == timedelta(seconds=18))


async def test_override_beats_every_rule_at_once() -> None:
    async with installed(setup()) as installation:
        await until(lambda: len(installation.registry.apps()) == len(NAMES))
        await installation.override("hello-fastify", max_idle_time=LONG, power=Power.ALWAYS_ON)
        await until(lambda: installation.app("hello-fastify").policy.max_idle_time == LONG)
        assert installation.app("hello-fastify").policy.sources["max_idle_time"] == "override"


async def test_template_that_cannot_be_filled_is_told() -> None:
    text = r"""
rules:
  - pattern: 'app(-x)?'
    linked_apps: ['other$1']
"""
    async with installed(setup(text, names=("app",))) as installation:
        await installation.known("app")
        await until(lambda: installation.app("app").condition(Reason.TEMPLATE_DROPPED))
