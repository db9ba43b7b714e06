"""The chart, judged by helm and by a real API server."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from paastis.config import ControllerConfig, ProxyConfig, load_config
from paastis.config.environment import VARIABLES
from paastis.rule import Hooks
from tests.charts.made import CHART
from tests.charts.values import EVERYTHING, Values, switched, switches, with_switches
from tests.cluster.access import MERGE_PATCH, ApiError
from tests.cluster.charts import APP, Json, Release, environment, pods

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.access import Cluster

SCALINGO: Values = {"provider": "scalingo", "credentials": {"existingSecret": "scalingo"}}


@pytest.fixture
def release(cluster: Cluster, namespace: str) -> Iterator[Release]:
    """One that is not installed yet; what it leaves in the whole cluster is removed."""
    release = Release(cluster, namespace)
    yield release
    if release.helm("list", "--short").stdout.strip():
        release.uninstall("--no-hooks")


@pytest.fixture
def restricted(cluster: Cluster, namespace: str) -> str:
    """A namespace that takes no pod but those of the standard `restricted`."""
    label = "pod-security.kubernetes.io/enforce"
    cluster.kubectl("label", "namespace", namespace, f"{label}=restricted")
    return namespace


# --- what it renders --------------------------------------------------------------------------


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_lint_finds_nothing(release: Release, values: Values) -> None:
    said = release.helm("lint", "--strict", str(CHART), values=values).stdout

    assert "0 chart(s) failed" in said
    assert "WARNING" not in said


def _valid(release: Release, values: Values) -> None:
    """The server takes it as it is, without a field that it does not know."""
    release.cluster.kubectl(
        *("apply", "--server-side", "--dry-run=server", "--validate=strict"),
        *("--namespace", release.namespace, "--filename=-"),
        input=release.render(values),
    )


@pytest.mark.usefixtures("crds", "http_routes", "service_monitors")
@pytest.mark.parametrize(
    "values",
    [{}, EVERYTHING, with_switches(EVERYTHING, on=False)],
    ids=["defaults", "all on", "all off"],
)
def test_manifests_are_valid(release: Release, values: Values) -> None:
    _valid(release, values)


@pytest.mark.usefixtures("crds", "http_routes", "service_monitors")
@pytest.mark.parametrize("path", [*switches()])
def test_each_switch_can_be_off_among_others_and_on_alone(release: Release, path: str) -> None:
    everything = with_switches(EVERYTHING, on=True)
    _valid(release, switched(everything, path, on=False))
    _valid(release, switched(with_switches(EVERYTHING, on=False), path, on=True))


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_pods_are_restricted(release: Release, restricted: str, values: Values) -> None:
    values = {**values, "wakeOnUninstall": {"enabled": True}}
    templates = pods(release.rendered(values))

    assert sorted(templates) == ["controller", "proxy", "uninstall"]
    for template in templates.values():
        _try_pod(release.cluster, restricted, template)


def test_server_refuses_pods_that_are_not_restricted(release: Release, restricted: str) -> None:
    values = {"proxy": {"podSecurityContext": {"runAsNonRoot": False}}}
    template = pods(release.rendered(values))["proxy"]

    with pytest.raises(ApiError, match="violates PodSecurity"):
        _try_pod(release.cluster, restricted, template)


def _try_pod(cluster: Cluster, namespace: str, template: Json) -> None:
    # Here is no scheduler that would know the class.
    spec = {key: value for key, value in template["spec"].items() if key != "priorityClassName"}
    pod = {"metadata": {**template["metadata"], "name": "tried"}, "spec": spec}
    cluster.request("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", pod)


def test_only_pods_that_call_the_api_get_a_token(release: Release) -> None:
    manifests = release.rendered(EVERYTHING)
    accounts = [found for found in manifests if found["kind"] == "ServiceAccount"]

    assert [found["automountServiceAccountToken"] for found in accounts] == [False, False, False]
    for template in pods(manifests).values():
        assert template["spec"]["automountServiceAccountToken"] is True


def test_nothing_but_the_admission_policy_belongs_to_the_whole_cluster(release: Release) -> None:
    kinds = {
        found["kind"]
        for found in release.rendered(EVERYTHING)
        if "namespace" not in found["metadata"]
    }

    assert kinds == {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}


def test_labels_for_everything_cannot_move_a_pod_to_another_service(release: Release) -> None:
    manifests = release.rendered(EVERYTHING)

    for found in manifests:
        assert found["metadata"]["labels"]["team"] == "platform", found["kind"]
        assert found["metadata"]["labels"]["app.kubernetes.io/name"] == "paastis"
    for found in manifests:
        if found["kind"] == "Deployment":
            selected = found["spec"]["selector"]["matchLabels"]
            labels = found["spec"]["template"]["metadata"]["labels"]
            assert selected.items() <= labels.items()


def test_proxy_gets_longer_to_end_than_its_requests(release: Release) -> None:
    template = pods(release.rendered({"proxy": {"drainTimeout": "1h1m1s"}}))["proxy"]

    assert template["spec"]["terminationGracePeriodSeconds"] == 3661 + 5 + 15


def test_release_of_another_name_has_other_names(release: Release) -> None:
    other = Release(release.cluster, release.namespace, "second.one")

    names = {found["metadata"]["name"] for found in other.rendered(EVERYTHING)}

    assert not names & {found["metadata"]["name"] for found in release.rendered({})}
    assert "second-one-paastis-proxy" in names


# --- what the programs get ----------------------------------------------------------------------

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


# --- what it refuses ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"repilcas": 2}, "at '': additional properties 'repilcas' not allowed"),
        ({"proxy": {"replica": 2}}, "at '/proxy': additional properties 'replica' not allowed"),
        ({"proxy": {"replicas": "two"}}, "at '/proxy/replicas': got string, want integer"),
        ({"logging": {"level": "loud"}}, "at '/logging/level': value must be one of 'debug', "),
        ({"settings": {"drainTime": "5 s"}}, "at '/settings/drainTime': '5 s' does not match"),
        ({"settings": {"drainTime": 5}}, "at '/settings/drainTime': got number, want string"),
        ({"accounts": {"Main": SCALINGO}}, "invalid propertyName 'Main'"),
        (
            {"accounts": {"main": {**SCALINGO, "mode": "manage"}}},
            "at '/accounts/main/mode': value must be one of 'Observe', 'Manage'",
        ),
        (
            {"accounts": {"main": {"provider": "scalingo"}}},
            "at '/accounts/main': missing property 'credentials'",
        ),
        (
            {"accounts": {"main": {**SCALINGO, "region": "osc-fr1"}}},
            "at '/accounts/main': additional properties 'region' not allowed",
        ),
        (
            {"accounts": {"main": {**SCALINGO, "credentials": {}}}},
            "accounts.main.credentials: nothing given; name a Secret with the key apiToken",
        ),
        (
            {
                "accounts": {
                    "main": {**SCALINGO, "credentials": {"apiToken": "a", "existingSecret": "b"}}
                }
            },
            "accounts.main.credentials: both apiToken and existingSecret are given",
        ),
        (
            {"rules": {"all": {"pattern": ".*", "maxIdelTime": "1h"}}},
            "at '/rules/all': additional properties 'maxIdelTime' not allowed",
        ),
        (
            {"rules": {"all": {"pattern": ".*", "maxIdleTime": "15 minutes"}}},
            "at '/rules/all/maxIdleTime': '15 minutes' does not match pattern",
        ),
        ({"rules": {"all": {}}}, "at '/rules/all': missing property 'pattern'"),
        ({"systemApi": {"enabled": True}}, "systemApi: it is enabled without a token"),
        (
            {"ingress": {"enabled": True}},
            "ingress.hosts is empty, and so is proxy.baseDomains: name the hosts",
        ),
        (
            {"ingress": {"enabled": True, "hosts": ["a.example.org"]}},
            "proxy.trustedProxies is empty: behind an Ingress or HTTPRoute, name the networks",
        ),
        (
            {
                "httpRoute": {"enabled": True, "parentRefs": [{"name": "a"}]},
                "proxy": {"baseDomains": ["example.org"]},
            },
            "proxy.trustedProxies is empty",
        ),
        ({"httpRoute": {"enabled": True}}, "httpRoute.parentRefs is empty: name the Gateway"),
        (
            {"proxy": {"autoscaling": {"enabled": True, "minReplicas": 20}}},
            "proxy.autoscaling.minReplicas (20) is more than maxReplicas (10).",
        ),
        (
            {"proxy": {"serviceAccount": {"create": False}}},
            "proxy.serviceAccount.name is empty: with create: false, name the ServiceAccount",
        ),
    ],
)
def test_wrong_value_is_refused_with_a_sentence(
    release: Release, values: Values, sentence: str
) -> None:
    assert sentence in release.refusal(values)


@pytest.mark.parametrize(
    "values",
    [
        {"accounts": {"main": {**SCALINGO, "credentials": {"apiToken": "se cret"}}}},
        {"systemApi": {"enabled": True, "token": "se cret"}},
    ],
)
def test_refusal_of_a_token_does_not_show_it(release: Release, values: Values) -> None:
    said = release.refusal(values)

    assert "not shown, it is a secret" in said
    assert "se cret" not in said


# --- its life -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("crds")
def test_release_is_installed_changed_and_removed(release: Release) -> None:
    notes = release.install({"accounts": {"main": SCALINGO}})
    assert f"kubectl get paastisapps -n {release.namespace} -o wide" in notes
    assert "--reset-then-reuse-values --set accounts.main.mode=Manage" in notes
    assert "kubectl apply --server-side -f charts/paastis/crds/" in notes
    first = release.objects()
    assert "PaastisAccount/main" in first
    release.cluster.kubectl(
        "apply", "--namespace", release.namespace, "--filename=-", input=json.dumps(APP)
    )

    everything = with_switches(EVERYTHING, on=True)
    for needs_others in ("httpRoute", "serviceMonitor"):
        everything = switched(everything, f"{needs_others}.enabled", on=False)
    release.upgrade(everything)
    changed = release.objects()
    assert {"Ingress/paastis-proxy", "PaastisAccount/made", "PaastisRule/staging"} <= set(changed)
    assert "PaastisAccount/main" not in changed

    release.upgrade({"accounts": {"main": SCALINGO}})
    assert release.objects() == first

    release.uninstall()
    assert release.objects() == []
    release.cluster.kubectl("delete", "papp/my-app", "-n", release.namespace, "--timeout=10s")


@pytest.mark.usefixtures("crds")
def test_two_releases_live_in_two_namespaces(release: Release) -> None:
    cluster, name = release.cluster, f"{release.namespace}-2"
    cluster.make_namespace(name)
    other = Release(cluster, name)
    try:
        release.install({"accounts": {"main": SCALINGO}})
        other.install({"accounts": {"main": SCALINGO}})
        release.uninstall()
        assert other.objects()
        other.uninstall()
        assert other.objects() == []
    finally:
        cluster.remove_namespace(name)


WAKING: Values = {"accounts": {"main": SCALINGO}, "wakeOnUninstall": {"enabled": True}}


@pytest.mark.usefixtures("crds")
@pytest.mark.parametrize("works", [True, False], ids=["all awake", "something sleeps on"])
def test_uninstall_waits_until_everything_is_awake(release: Release, works: bool) -> None:
    release.install(WAKING)
    before = release.objects()
    done: list[int] = []

    def uninstall() -> None:
        done.append(release.uninstall("--timeout=45s", check=False).returncode)

    helm = threading.Thread(target=uninstall)
    helm.start()
    try:
        job = _wait_for_job(release)
        (container,) = job["spec"]["template"]["spec"]["containers"]
        assert container["args"] == ["wake-all", "--wait", "10m"]
        assert release.objects() == sorted(
            [
                *before,
                "Job/paastis-uninstall",
                "Role/paastis-uninstall",
                "RoleBinding/paastis-uninstall",
                "ServiceAccount/paastis-uninstall",
            ]
        )
        assert not done, "it waits"
        _end_job(release, job, works=works)
    finally:
        helm.join(timeout=50)

    if works:
        assert done == [0]
        assert release.objects() == []
    else:
        assert done != [0]
        assert set(before) <= set(release.objects()), "the installation is as it was"
        assert "Job/paastis-uninstall" in release.objects(), "its log tells what sleeps"


def _wait_for_job(release: Release) -> Json:
    path = f"/apis/batch/v1/namespaces/{release.namespace}/jobs/paastis-uninstall"
    deadline = time.monotonic() + 20
    while True:
        try:
            found: Json = release.cluster.request("GET", path)
        except ApiError:
            assert time.monotonic() < deadline, "there is no Job"
            time.sleep(0.05)
        else:
            return found


def _end_job(release: Release, job: Json, *, works: bool) -> None:
    """What the Job controller says once the pod has ended."""
    about = {"status": "True", "lastTransitionTime": "2026-11-24T08:00:00Z"}
    last = "Complete" if works else "Failed"
    before = "SuccessCriteriaMet" if works else "FailureTarget"
    status: Json = {
        "startTime": "2026-11-24T07:59:00Z",
        "conditions": [{"type": kind, **about} for kind in (before, last)],
        ("succeeded" if works else "failed"): 1,
    }
    if works:
        status["completionTime"] = "2026-11-24T08:00:00Z"
    path = f"/apis/batch/v1/namespaces/{release.namespace}/jobs/{job['metadata']['name']}/status"
    release.cluster.request("PATCH", path, {"status": status}, content_type=MERGE_PATCH)
