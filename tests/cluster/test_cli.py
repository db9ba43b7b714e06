"""The command line against a real API server, with the rights that its caller has."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner

from paastis.app import Phase
from paastis.cli import main
from paastis.config.files import read_rules
from paastis.policy import Mode, Policy
from paastis.reasons import Reason
from paastis.resources.rule import rule_from
from paastis.resources.values import time_text
from paastis.resources.writing import spec_of, status_of
from paastis.rule import Hooks
from tests.paastis.factories import SNAPSHOT, an_app

if TYPE_CHECKING:
    from click.testing import Result

    from paastis.app import App
    from tests.cluster.access import Cluster
    from tests.cluster.server import Server

pytestmark = pytest.mark.usefixtures("alone")

SAMPLE = Path(__file__).parents[2] / "paastis.yml.sample"
CALLER = ("paastisapps:get,list,patch", "paastisaccounts:list")
HOOK = ("paastisapps:list", "paastisaccounts:list,patch")


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the person who runs the tests is read."""
    monkeypatch.chdir(tmp_path)
    for name in ("KUBECONFIG", "REGISTRY_TYPE", "REGISTRY_KUBERNETES_NAMESPACE", "PAASTIS_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


class Caller:
    """Somebody with these rights in a namespace, and the command line."""

    def __init__(
        self, cluster: Cluster, namespace: str, name: str, rights: tuple[str, ...]
    ) -> None:
        self.cluster = cluster
        self.namespace = namespace
        cluster.kubectl("create", "serviceaccount", name, "-n", namespace)
        for number, right in enumerate(rights):
            resource, verbs = right.split(":")
            role = f"{name}-{number}"
            cluster.kubectl(
                *("create", "role", role, "-n", namespace),
                *(f"--resource={resource}.paastis.io", f"--verb={verbs}"),
            )
            cluster.kubectl(
                *("create", "rolebinding", role, "-n", namespace),
                *(f"--role={role}", f"--serviceaccount={namespace}:{name}"),
            )
        self.kubeconfig = cluster.kubeconfig_for(namespace, name)
        self.user = f"system:serviceaccount:{namespace}:{name}"

    def paastis(self, *words: str) -> Result:
        return CliRunner(env={"KUBECONFIG": str(self.kubeconfig)}).invoke(main, words)

    def put(self, plural: str, body: dict[str, Any]) -> None:
        """As the administrator: the resource, and its status."""
        path = f"/apis/paastis.io/v1alpha1/namespaces/{self.namespace}/{plural}"
        kind = {"paastisapps": "PaastisApp", "paastisaccounts": "PaastisAccount"}[plural]
        head = {"apiVersion": "paastis.io/v1alpha1", "kind": kind}
        self.cluster.request("POST", path, head | body)
        self.told(plural, body["metadata"]["name"], body["status"])

    def told(self, plural: str, name: str, status: dict[str, Any]) -> None:
        """What the controller writes."""
        path = f"/apis/paastis.io/v1alpha1/namespaces/{self.namespace}/{plural}/{name}/status"
        merge = "application/merge-patch+json"
        self.cluster.request("PATCH", path, {"status": status}, content_type=merge)

    def get(self, plural: str, name: str) -> dict[str, Any]:
        path = f"/apis/paastis.io/v1alpha1/namespaces/{self.namespace}/{plural}/{name}"
        found: dict[str, Any] = self.cluster.request("GET", path)
        return found

    def put_account(self) -> None:
        spec = {"provider": "scalingo", "mode": "Manage", "credentialsSecretRef": {"name": "token"}}
        status = {"reachable": True, "lastCompleteListing": time_text(datetime.now(UTC))}
        self.put("paastisaccounts", {"metadata": {"name": "main"}, "spec": spec, "status": status})

    def put_app(self, app: App) -> None:
        body = {"metadata": {"name": app.name}, "spec": spec_of(app), "status": status_of(app, ())}
        self.put("paastisapps", body)


def shop(phase: Phase = Phase.AWAKE, /, **fields: Any) -> App:
    return replace(an_app(phase, **fields), name="shop", app_name="shop")


@pytest.fixture
def caller(cluster: Cluster, namespace: str, crds: None) -> Caller:
    caller = Caller(cluster, namespace, "somebody", CALLER)
    caller.put_account()
    return caller


def test_apps_are_told_with_what_is_decided_about_them(caller: Caller) -> None:
    used = datetime.now(UTC) - timedelta(minutes=5)
    caller.put_app(shop(last_access_time=used))
    told = caller.paastis("apps", "--kubernetes")
    assert (told.exit_code, told.stderr) == (0, "")
    row = next(line for line in told.stdout.splitlines() if line.startswith("shop "))
    assert row.split()[1:3] == ["Awake", "InUse"]
    (view,) = json.loads(caller.paastis("apps", "--json", "--context", "test").stdout)
    sleeps_at = datetime.fromisoformat(view["sleeps_at"])
    assert abs(sleeps_at - used - timedelta(minutes=15, seconds=5)) < timedelta(seconds=1)
    assert "A visitor used it" in caller.paastis("explain", "shop", "--kubernetes").stdout


def test_orders_are_written_to_the_resource(caller: Caller) -> None:
    caller.put_app(shop(cycle=6))
    slept = caller.paastis("sleep", "shop", "--kubernetes")
    assert (slept.exit_code, slept.stderr) == (0, "")
    assert caller.get("paastisapps", "shop")["spec"]["sleepFor"] == 6
    woken = caller.paastis("wake", "shop", "--kubernetes")
    assert (woken.exit_code, woken.stderr) == (0, "")
    spec = caller.get("paastisapps", "shop")["spec"]
    assert "sleepFor" not in spec
    until = datetime.fromisoformat(spec["awakeUntil"]) - datetime.now(UTC)
    assert timedelta(minutes=14) < until <= timedelta(minutes=15)


def test_other_namespace_is_looked_at_only_when_it_is_named(
    caller: Caller, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller.put_app(shop())
    administrator = CliRunner(env={"KUBECONFIG": str(cluster.kubeconfig)})
    none = administrator.invoke(main, ["apps", "--kubernetes"])
    assert none.stdout.startswith("No apps yet in namespace 'default'.")
    assert "shop" in administrator.invoke(main, ["apps", "-n", caller.namespace]).stdout
    settings = ["--set", "REGISTRY_TYPE=kubernetes"]
    settings += ["--set", f"REGISTRY_KUBERNETES_NAMESPACE={caller.namespace}"]
    assert "shop" in administrator.invoke(main, ["apps", *settings]).stdout


def test_nearest_name_is_suggested(caller: Caller) -> None:
    caller.put_app(shop())
    told = caller.paastis("wake", "shpo", "--kubernetes")
    assert (told.exit_code, told.stderr) == (
        1,
        "paastis: No app is called 'shpo'; did you mean 'shop'?\n",
    )


@pytest.mark.parametrize("words", [("apps",), ("explain", "shop"), ("wake-all",)], ids=" ".join)
def test_caller_without_rights_is_told_which(
    cluster: Cluster, namespace: str, crds: None, words: tuple[str, ...]
) -> None:
    nobody = Caller(cluster, namespace, "nobody", ())
    told = nobody.paastis(*words, "-n", namespace)
    assert told.exit_code == 1
    assert len(told.stderr.splitlines()) == 1
    assert "is forbidden" in told.stderr
    assert nobody.user in told.stderr


def test_unknown_context_is_a_matter_of_configuration(cluster: Cluster) -> None:
    runner = CliRunner(env={"KUBECONFIG": str(cluster.kubeconfig)})
    told = runner.invoke(main, ["apps", "--context", "none"])
    assert told.exit_code == 2
    assert len(told.stderr.splitlines()) == 1


def test_cluster_without_definitions_and_cluster_that_is_away_are_told(
    own_cluster: Server,
) -> None:
    runner = CliRunner(env={"KUBECONFIG": str(own_cluster.cluster.kubeconfig)})
    for words in (["apps", "--kubernetes"], ["wake-all"]):
        told = runner.invoke(main, words)
        assert told.exit_code == 1
        assert "paastis is not installed there" in told.stderr
    own_cluster.stop_api(at_once=True)
    told = runner.invoke(main, ["apps", "--kubernetes"])
    assert told.exit_code == 1
    assert len(told.stderr.splitlines()) == 1
    assert "The Kubernetes API could not be reached" in told.stderr
    told = runner.invoke(main, ["wake-all", "--wait", "1s"])
    assert told.exit_code == 1
    assert told.stderr == "paastis: After 1s: the API server did not say what sleeps.\n"


# --- rules


EVERYTHING = r"""
rules:
  - pattern: '(?<team>[a-z]+)-demo'
    name: Demos
    accounts: [main]
    app_name: '$team'
    app_max_idle_time: 0.5
    linked_apps: ['$team-api', y]
    power: always-on
    hosts: ['$team.example.com', WWW.example.com]
    schedule:
      time_zone: Europe/Paris
      awake: [{start: '0 8 * * 1-5', end: '0 19 * * 1-5'}]
      sleep: [{start: '0 22 * * *', end: '0 6 * * *'}]
    wake:
      mode: hold
      by: visit
      timeout: 20
      page_status: 202
      ready_path: /health
      ready_status: [200, 204]
    ignore_access:
      methods: [OPTIONS]
      paths: ['/health']
      user_agents: [curl]
      addresses: [10.0.0.0/8]
      built_in: false
    rewrite: false
    max_tunnel_idle: 1h
    hooks: {before_stop: ./ask.sh}
  - {pattern: '.*', max_idle_time: 36h}
  - {pattern: 'x', max_idle_time: 0, linked_apps: [], hosts: [], wake: {}, ignore_access: {}}
"""


@pytest.mark.parametrize("text", [SAMPLE.read_text(), EVERYTHING], ids=["sample", "everything"])
def test_exported_rules_are_accepted_and_say_the_same(
    cluster: Cluster, namespace: str, crds: None, tmp_path: Path, text: str
) -> None:
    (tmp_path / "paastis.yml").write_text(text)
    exported = CliRunner().invoke(main, ["rules", "export"])
    assert exported.exit_code == 0
    cluster.kubectl(
        *("apply", "--server-side", "-n", namespace, "--filename=-"), input=exported.stdout
    )
    said = json.loads(cluster.kubectl("get", "paastisrules", "-n", namespace, "-o=json").stdout)
    read = {}
    for resource in said["items"]:
        rule, problems = rule_from(resource)
        assert problems == ()
        assert rule is not None
        read[rule.priority] = rule
    written = read_rules(tmp_path, environ={}).rules
    kept = [rule for rule in written if rule.hooks == Hooks() or "name: Demos" in text]
    assert [read[number].settings for number in sorted(read)] == [rule.settings for rule in kept]
    assert [read[number].pattern for number in sorted(read)] == [rule.pattern for rule in kept]
    documents = list(yaml.safe_load_all(exported.stdout))
    assert {one["metadata"]["name"] for one in documents} == {one.name for one in read.values()}


# --- leaving


def stopped() -> App:
    return shop(Phase.ASLEEP, phase_reason=Reason.IDLE, snapshot=SNAPSHOT)


def test_wake_all_returns_when_the_controller_has_woken_everything(
    cluster: Cluster, namespace: str, crds: None
) -> None:
    hook = Caller(cluster, namespace, "hook", HOOK)
    hook.put_account()
    hook.put_app(stopped())
    running = subprocess.Popen(
        [sys.executable, "-m", "paastis.cli", "wake-all", "--wait", "40s"],
        env={"KUBECONFIG": str(hook.kubeconfig), "PATH": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 20
        while hook.get("paastisaccounts", "main")["spec"]["mode"] != "WakeAll":
            assert time.monotonic() < deadline
            assert running.poll() is None
            time.sleep(0.05)
        awake = shop(phase_reason=Reason.WAKE_ALL, policy=Policy(mode=Mode.WAKE_ALL))
        hook.told("paastisapps", "shop", status_of(awake, ()))
        stdout, stderr = running.communicate(timeout=20)
    finally:
        running.kill()
        running.wait()
    assert (running.returncode, stderr) == (0, "")
    assert stdout.splitlines()[0] == "PaastisAccount main: mode Manage → WakeAll."
    assert stdout.splitlines()[-1] == "Everything that paastis put to sleep is awake."
    asked = {
        (event["objectRef"]["resource"], event["verb"]) for event in cluster.audited(hook.user)
    }
    assert asked == {
        ("paastisaccounts", "list"),
        ("paastisaccounts", "patch"),
        ("paastisapps", "list"),
    }


def test_wake_all_names_what_still_sleeps_when_the_time_is_over(
    cluster: Cluster, namespace: str, crds: None
) -> None:
    hook = Caller(cluster, namespace, "hook", HOOK)
    hook.put_account()
    hook.put_app(stopped())
    told = hook.paastis("wake-all", "--wait", "1s")
    assert told.exit_code == 1
    assert told.stderr == "paastis: After 1s: 1 still asleep: shop.\n"
