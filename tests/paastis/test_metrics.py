"""Metrics: what a scrape shows."""

from dataclasses import replace

from prometheus_client.parser import text_string_to_metric_families

from paastis.app import App, Phase
from paastis.metrics import Metrics
from tests.paastis.registry.contract import an_app

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(metrics: Metrics) -> Samples:
    """Every sample by name and labels."""
    body, content_type = metrics.render()
    assert content_type.startswith("text/plain")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def test_two_programs_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.requests.labels("forwarded", "awake").inc()
    key = ("paastis_requests_total", frozenset({("outcome", "forwarded"), ("state", "awake")}))
    assert scrape(one)[key] == 1
    assert key not in scrape(other)


def test_all_names_are_ours_and_in_base_units() -> None:
    for family in Metrics().registry.collect():
        assert family.name.startswith(("paastis_", "process_"))
        assert family.documentation.endswith(".") or family.name.startswith("process_")
        assert not family.name.endswith(("_ms", "_minutes", "_milliseconds"))


def test_apps_are_counted_by_phase_when_they_are_read() -> None:
    metrics = Metrics()
    apps: list[App] = [an_app("a", phase=Phase.AWAKE), an_app("b", phase=Phase.AWAKE)]
    metrics.watch_apps(lambda: apps)

    def count(phase: Phase) -> float:
        labels = frozenset({("account", "main"), ("phase", phase.value)})
        return scrape(metrics)["paastis_apps", labels]

    assert (count(Phase.AWAKE), count(Phase.ASLEEP)) == (2, 0)
    apps[0] = replace(apps[0], phase=Phase.ASLEEP)
    assert (count(Phase.AWAKE), count(Phase.ASLEEP)) == (1, 1)


def test_scrape_does_not_grow_with_the_number_of_apps() -> None:
    metrics = Metrics()
    apps = [an_app(f"app-{n}", phase=Phase.AWAKE) for n in range(3)]
    metrics.watch_apps(lambda: apps)
    few = len(scrape(metrics))
    apps.extend(an_app(f"more-{n}", phase=Phase.AWAKE) for n in range(500))
    assert len(scrape(metrics)) == few


def test_age_of_a_loop_counts_from_its_last_turn() -> None:
    clock = [100.0]
    metrics = Metrics(monotonic=lambda: clock[0])
    metrics.turn("reconciler")
    clock[0] += 7
    key = ("paastis_loop_age_seconds", frozenset({("loop", "reconciler")}))
    assert scrape(metrics)[key] == metrics.loop_age("reconciler") == 7
    metrics.turn("reconciler")
    assert scrape(metrics)[key] == 0
