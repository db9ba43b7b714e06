"""Which apps a request keeps awake beside its own. Pure; worked out when it is asked for."""

from collections.abc import Collection, Mapping

from paastis.app import App, Phase
from paastis.rule import LinkNode, linked


class Links:
    """The links of `apps`, which are looked at anew after a change that matters."""

    def __init__(self, apps: Mapping[str, App]) -> None:
        self._apps = apps
        self._links: Mapping[str, Collection[str]] = {}
        self._stale = False
        self._linking = 0
        """Apps that link to any."""

    def of(self, name: str) -> Collection[str]:
        """Every app that the named one keeps awake, through others too."""
        if not self._linking:
            return ()
        if self._stale:
            self._stale = False
            apps = [app for app in self._apps.values() if app.phase is not Phase.GONE]
            self._links = linked({app.name: _node(app) for app in apps})
        return self._links.get(name, ())

    def note(self, before: App | None, after: App | None) -> None:
        """An app came, changed or went."""
        for app, step in ((before, -1), (after, +1)):
            if app is not None and app.policy.linked_apps:
                self._linking += step
        if before is None or after is None or _facts(before) != _facts(after):
            self._stale = True


def _node(app: App) -> LinkNode:
    said = app.policy
    return LinkNode(app.identity.account, app.app_name, said.display_name, said.linked_apps)


def _facts(app: App) -> tuple[object, ...]:
    said, gone = app.policy, app.phase is Phase.GONE
    return (app.identity.account, app.app_name, said.display_name, said.linked_apps, gone)
