"""An app as somebody asks the pretend platform for it: values only, checked where they are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from paastis.simulate.app import ProcessSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

DEFAULT_REGION = "osc-fr1"
DEFAULT_SIZE = "M"
InitialStatus = Literal["running", "stopped", "new", "crashed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoscalerSpec:
    """A platform's autoscaler of one process type."""

    type: str = "web"
    minimum: int = 2
    maximum: int = 4
    metric: str = "cpu"
    target: float = 0.8
    disabled: bool = False


def _one_web() -> Mapping[str, ProcessSpec]:
    return {"web": ProcessSpec(1, DEFAULT_SIZE)}


@dataclass(frozen=True, slots=True, kw_only=True)
class AppSpec:
    """What an app is to be like at first. Times left at `None` are the world's."""

    name: str
    region: str = DEFAULT_REGION
    formation: Mapping[str, ProcessSpec] = field(default_factory=_one_web)
    autoscalers: tuple[AutoscalerSpec, ...] = ()
    status: InitialStatus = "running"
    boot_time: timedelta | None = None
    stop_time: timedelta | None = None
    boot_failures: int = 0
    """How many of the next boots fail; `app.FOREVER` for all of them."""
    domains: tuple[str, ...] = ()
    parent: str = ""


def default_apps() -> tuple[AppSpec, ...]:
    """Ten apps that show every situation worth seeing, when nobody asked for others."""
    web, worker = ProcessSpec(1, "S"), ProcessSpec(1, "S")
    return (
        AppSpec(
            name="my-app",
            formation={
                "web": ProcessSpec(2, "M"),
                "worker": ProcessSpec(1, "S"),
                "clock": ProcessSpec(0, "S"),
            },
            autoscalers=(AutoscalerSpec(),),
        ),
        AppSpec(name="app-review-pr42-front", formation={"web": web}, parent="app-review"),
        AppSpec(
            name="app-review-pr42-back",
            formation={"web": ProcessSpec(1, "M"), "worker": worker},
            parent="app-review",
        ),
        AppSpec(name="hello-fastify", formation={"web": web}),
        AppSpec(name="hello-fastify-2", formation={"web": web}),
        AppSpec(name="storybook", formation={"web": web}),
        AppSpec(name="nightly-reports", formation={"worker": worker, "clock": ProcessSpec(1, "S")}),
        AppSpec(name="old-prototype", formation={"web": web}, status="stopped"),
        AppSpec(name="never-deployed", formation={"web": web}, status="new"),
        AppSpec(
            name="big-shop", formation={"web": ProcessSpec(3, "XL"), "worker": ProcessSpec(2, "L")}
        ),
    )
