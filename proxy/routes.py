"""Which app a Host leads to. Pure; one dictionary look-up or two per request.

Who has a right to which name is decided in `paastis/hosts.py`.
"""

from collections.abc import Iterable

from paastis.app import App
from paastis.hosts import Claim, Wanted, is_address, normal_host, wanted_by


class Routes:
    """Host → record name, kept up to date app by app."""

    def __init__(self, base_domains: Iterable[str] = ()) -> None:
        self._bases = frozenset(base for base in map(normal_host, base_domains) if base is not None)
        self._hosts: dict[str, tuple[Claim, ...]] = {}
        self._labels: dict[str, tuple[Claim, ...]] = {}
        self._known: dict[str, Wanted] = {}

    def __len__(self) -> int:
        return len(self._known)

    def put(self, app: App) -> None:
        """Learn or refresh one app."""
        wanted = wanted_by(app)
        if self._known.get(app.name) == wanted:
            return
        self.remove(app.name)
        self._known[app.name] = wanted
        for table, keys in ((self._hosts, wanted.hosts), (self._labels, wanted.labels)):
            for key in keys:
                table[key] = tuple(sorted((*table.get(key, ()), wanted.claim)))

    def remove(self, name: str) -> None:
        """Forget one app; unknown names are no error."""
        known = self._known.pop(name, None)
        if known is None:
            return
        for table, keys in ((self._hosts, known.hosts), (self._labels, known.labels)):
            for key in keys:
                left = tuple(claim for claim in table[key] if claim.name != name)
                if left:
                    table[key] = left
                else:
                    del table[key]

    def find(self, host: str) -> str | None:
        """The record name of the app behind a parsed host; None: nobody's."""
        claims = self._hosts.get(host)
        if claims is None:
            label, dot, base = host.partition(".")
            if not dot or is_address(host) or (self._bases and base not in self._bases):
                return None
            claims = self._labels.get(label)
        return claims[0].name if claims else None
