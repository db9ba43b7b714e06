"""Records as JSON: everything comes back, and older and newer texts load."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paastis.app import App, Identity, Overrides, Phase
from paastis.policy import Policy, Power, Schedule, Settings, WakeSettings, Window
from paastis.reasons import Reason
from paastis.registry.codec import BadRecord, decode, encode
from tests.paastis.registry.contract import NOON, an_app

times = st.datetimes(
    min_value=datetime(1970, 1, 2),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=datetime(9999, 12, 30),  # noqa: DTZ001 - as above
    timezones=st.just(UTC),
)
spans = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=10_000))
texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]))


def _register() -> None:
    st.register_type_strategy(datetime, times)
    st.register_type_strategy(timedelta, spans)
    st.register_type_strategy(str, texts)
    st.register_type_strategy(Mapping, st.dictionaries(texts, texts, max_size=5))
    st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))


_register()


@given(st.from_type(App))
def test_every_record_comes_back_as_it_was(app: App) -> None:
    assert decode(encode(app)) == app


@given(st.from_type(Settings))
def test_every_override_comes_back_as_it_was(settings: Settings) -> None:
    app = an_app(overrides=Overrides(settings=settings))
    assert decode(encode(app)) == app


def test_read_only_mapping_comes_back_equal() -> None:
    app = an_app(policy=Policy(sources=MappingProxyType({"power": "rule 'a-.*'"})))
    assert decode(encode(app)).policy.sources == {"power": "rule 'a-.*'"}


def test_times_come_back_aware() -> None:
    at = datetime(2026, 3, 2, 14, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    back = decode(encode(an_app(last_access_time=at))).last_access_time
    assert back is not None
    assert back == at
    assert back.utcoffset() is not None


def _minimal() -> dict[str, Any]:
    return {
        "name": "shop",
        "identity": {"account": "main", "region": "osc-fr1", "app_id": "id-of-shop"},
        "provider": "scalingo",
        "app_name": "shop",
        "created_at": "2026-03-02T12:00:00Z",
    }


def test_missing_keys_take_their_defaults() -> None:
    assert decode(json.dumps(_minimal())) == an_app()


def test_keys_of_a_newer_version_are_ignored() -> None:
    text = _minimal() | {"mood": "fine", "policy": {"colour": "red", "power": "AlwaysOn"}}
    assert decode(json.dumps(text)) == an_app(policy=Policy(power=Power.ALWAYS_ON))


def test_nested_values_are_readable_json() -> None:
    app = App(
        name="shop",
        identity=Identity("main", "osc-fr1", "id"),
        provider="scalingo",
        app_name="shop",
        created_at=NOON,
        phase=Phase.ASLEEP,
        phase_reason=Reason.IDLE,
        overrides=Overrides(settings=Settings(wake=WakeSettings(timeout=timedelta(seconds=5)))),
        policy=Policy(schedule=Schedule("Europe/Paris", (Window("0 8 * * *", "0 20 * * *"),))),
    )
    text = json.loads(encode(app))
    assert text["phase"] == "Asleep"
    assert text["phase_reason"] == "Idle"
    assert text["created_at"] == "2026-03-02T12:00:00Z"
    assert text["overrides"]["settings"]["wake"]["timeout"] == "PT5S"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": 3}', "no json at all"])
def test_what_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(BadRecord):
        decode(text)


def test_refusal_names_the_field_and_not_its_value() -> None:
    with pytest.raises(BadRecord, match=r"cycle: .*integer") as caught:
        decode(json.dumps(_minimal() | {"cycle": "hunter2"}))
    assert "hunter2" not in str(caught.value)
