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
        self._creating: set[str] = set()
        self._unseen: set[str] = set()
        """Records that we created and the feed has not shown yet."""
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
        if mirrored is None:
            return written if name in self._unseen else None
        if mirrored.version >= written.version:
            del self._written[name]
            return mirrored
        return written

    def unfinished(self, name: str) -> bool:
        """Whether we are creating that record just now: what the mirror shows may be half of it."""
        return name in self._creating

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
        self._creating.add(app.name)
        try:
            created = await self._registry.create(app)
        finally:
            self._creating.discard(app.name)
        if app.name not in self._registry.apps():
            self._unseen.add(app.name)
        self._written[app.name] = created
        return created

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
        removed = self._removed.get(change.name)
        if change.app is not None:
            self._unseen.discard(change.name)
            if removed is not None and change.app.version > removed:
                # Created anew since: a slow reader is shown no more than that.
                del self._removed[change.name]
            return False
        if removed is not None:
            del self._removed[change.name]
            return True
        self._unseen.discard(change.name)
        self._written.pop(change.name, None)
        return False
