"""The controller's view of the records: the mirror, never older than its own last writes."""

from collections.abc import Callable, Mapping

from controller.happening import Happening, happenings
from paastis.app import App, AppChange
from paastis.errors import Conflict
from paastis.registry.port import Change, Registry


class Records:
    """Reads and writes records; writes nothing where nothing changed.

    `announce` is told what each write means to people.
    """

    def __init__(
        self, registry: Registry, *, announce: Callable[[Happening], None] = lambda _: None
    ) -> None:
        self._registry = registry
        self._announce = announce
        self._written: dict[str, App] = {}
        self._removed: dict[str, int] = {}
        """Records that we removed and the feed has not shown as removed yet: the version seen."""

    def all(self) -> Mapping[str, App]:
        """The mirror as it is."""
        return self._registry.apps()

    def newest(self) -> dict[str, App]:
        """A copy of all records, each in the newest state known."""
        newest = dict(self._registry.apps())
        for name in tuple(self._written):
            app = self.get(name)
            if app is not None:
                newest[name] = app
        return newest

    def get(self, name: str) -> App | None:
        """The newest state known: a mirror may lag behind what we wrote ourselves."""
        mirrored = self._registry.apps().get(name)
        written = self._written.get(name)
        if written is None:
            return mirrored
        if mirrored is None or mirrored.version >= written.version:
            del self._written[name]
            return mirrored
        return written

    async def write(self, app: App, change: AppChange) -> App:
        """Replace fields of the record that `app` was read from.

        Raises `Conflict`, `UnknownApp`, `RegistryUnavailable`.
        """
        if all(getattr(app, key) == value for key, value in change.items()):
            return app
        written = await self._registry.update(app.name, change, seen_version=app.version)
        self._written[app.name] = written
        for happening in happenings(app, written):
            self._announce(happening)
        return written

    async def create(self, app: App) -> App:
        """Add a record. Raises `Conflict`, `RegistryUnavailable`."""
        return await self._registry.create(app)

    async def remove(self, app: App) -> None:
        """Forget a record. Raises `Conflict`, `RegistryUnavailable`."""
        before = self._removed.get(app.name)
        self._removed[app.name] = app.version
        try:
            await self._registry.remove(app.name, seen_version=app.version)
        except Conflict:
            if before is None:
                self._removed.pop(app.name, None)
            raise
        self._written.pop(app.name, None)

    def saw(self, change: Change) -> bool:
        """Take note of a step of the feed; True where it is our own removal of a record."""
        ours = self._removed.get(change.name)
        if ours is None:
            return False
        if change.app is None:
            del self._removed[change.name]
            return True
        if change.app.version > ours:
            # Created anew since: a slow reader is shown no more than that.
            del self._removed[change.name]
        return False
