"""What of the values reaches the programs."""

from __future__ import annotations

from typing import Any

from paastis.config import ControllerConfig, ProxyConfig, load_config
from paastis.config.environment import VARIABLES
from paastis.rule import Hooks
from tests.charts.values import EVERYTHING, Values
from tests.cluster.chart.release import Json, Release, environment, pods

FROM_THE_API = {"REGISTRY_KUBERNETES_NAMESPACE", "POD_NAME", "POD_UID", "ROUTING_SYSTEM_API_TOKEN"}
NOT_IN_A_CLUSTER = {
    *(name for name in VARIABLES if name.startswith("PROVIDER_")),  # said by PaastisAccounts
    "PAASTIS_MODE",
    "ROUTING_SYSTEM_API_HOST",
    "REGISTRY_REDIS_URL",
} - {"PROVIDER_ALLOW_INSECURE"}


def _loaded(template: Json) -> Any:
    """The configuration that a program of this pod reads; fails for a variable that is none."""
    literal = {
        name: value for name, value in environment(template).items() if name not in FROM_THE_API
    }
    config = load_config(
        environ={**literal, "ROUTING_SYSTEM_API_TOKEN": "a-token"},
        dotenv={},
        rules_text=None,
        rules_path=None,
    )
    assert config.warnings == ()
    return config


def test_default_values_are_the_programs_own_defaults(release: Release) -> None:
    templates = pods(release.rendered({}))
    controller, proxy = _loaded(templates["controller"]), _loaded(templates["proxy"])

    assert proxy.proxy == ProxyConfig()
    assert controller.controller == ControllerConfig()
    assert controller.hooks.commands == Hooks()
    assert controller.defaults.max_idle_time.total_seconds() == 15 * 60
    assert not controller.system.api_enabled
    assert controller.state_file is None


def test_values_reach_the_programs(release: Release) -> None:
    manifests = release.rendered(EVERYTHING)
    templates = pods(manifests)
    controller, proxy = _loaded(templates["controller"]), _loaded(templates["proxy"])

    assert proxy.proxy.base_domains == ("apps.example.org", "apps.example.com")
    assert [str(network) for network in proxy.proxy.trusted_proxies] == ["10.0.0.0/8", "fd00::/8"]
    assert proxy.proxy.drain_timeout.total_seconds() == 90
    assert (proxy.proxy.max_held, proxy.proxy.body_kept) == (1000, 1024 * 1024)
    assert proxy.system.api_enabled
    assert proxy.proxy.host == controller.system.host == "::"
    assert controller.defaults.max_idle_time.total_seconds() == 30 * 60
    assert controller.controller.discovery_cron == "*/5 * * * *"
    assert controller.ignored_apps == ("paastis", "billing-.*")
    assert controller.hooks.commands.before_start == "echo 'it is' \"time\""
    assert controller.hooks.pass_env == ("SLACK_URL",)
    assert controller.logging_level == "DEBUG", "extraEnv replaces the chart's own"
    assert controller.logging_format == "text"


def test_hooks_for_some_apps_are_a_file_that_the_controller_reads(release: Release) -> None:
    manifests = release.rendered(EVERYTHING)
    (file,) = (found for found in manifests if found["kind"] == "ConfigMap")
    template = pods(manifests)["controller"]

    config = load_config(
        environ={"REGISTRY_TYPE": "kubernetes"},
        dotenv={},
        rules_text=file["data"]["paastis.yml"],
        rules_path=environment(template)["PAASTIS_CONFIG"],
    )

    (rule,) = config.rules
    assert (rule.pattern, rule.accounts, rule.hooks) == (
        "shop-.*",
        ("made",),
        Hooks(before_stop=""),
    )
    assert config.warnings == ()


def test_each_variable_can_be_set_by_a_value(release: Release) -> None:
    templates = pods(release.rendered(EVERYTHING))
    named = {*environment(templates["controller"]), *environment(templates["proxy"])}

    assert named - {"SLACK_URL"} == VARIABLES.keys() - NOT_IN_A_CLUSTER


def test_new_token_of_an_account_restarts_nothing(release: Release) -> None:
    def templates(token: str) -> dict[str, Json]:
        account = {"provider": "scalingo", "credentials": {"apiToken": token}}
        return pods(release.rendered({"accounts": {"main": account}}))

    assert templates("tk-us-1") == templates("tk-us-2")


def test_controller_may_read_the_secrets_that_are_named_and_no_others(release: Release) -> None:
    def readable(values: Values) -> list[list[str]]:
        return [
            rule["resourceNames"]
            for found in release.rendered(values)
            if found["kind"] == "Role"
            for rule in found["rules"]
            if "secrets" in rule["resources"]
        ]

    assert readable(EVERYTHING) == [["paastis-account-made", "scalingo", "scalingo-team-b"]]
    assert readable({}) == [], "without names, a rule would mean all of them"
