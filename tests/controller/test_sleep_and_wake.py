"""An idle app sleeps and comes back exactly as it was."""


from paastis.app import Phase
from paastis.reasons import Reason
from tests.controller.conftest import Installation


async def test_idle_app_is_put_to_sleep_and_comes_back_exactly(installation: Installation) -> None:
    before = await installation.truth("my-app")

    asleep = await installation.phase("my-app", Phase.ASLEEP)

    assert asleep.phase_reason is Reason.IDLE
    assert await installation.truth("my-app") == {
        "web": (0, "M"),
        "worker": (0, "S"),
        "clock": (0, "S"),
    }

    await installation.ask_wake("my-app")
    await installation.phase("my-app", Phase.AWAKE)

    assert await installation.truth("my-app") == before
    assert await installation.calls("POST", "/scale") == 2
