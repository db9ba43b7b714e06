"""Shell commands around a start or stop.

A command sees the variables in its environment and nothing else of ours: no token, and no value is
ever built into the command's text. It runs in a process group of its own, so that its time-out
ends all of it.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from paastis.app import App
from paastis.reasons import Reason

log = logging.getLogger(__name__)

VETO = 75
"""Exit code EX_TEMPFAIL of sysexits.h: a before-stop hook that wants this stop to come later."""

_OUTPUT_KEPT = 4096  # bytes of a hook's output that reach the log
_END_GRACE = 2.0  # seconds between SIGTERM and SIGKILL


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a hook ended. `code` is None where it ran out of time."""

    code: int | None
    output: str

    @property
    def veto(self) -> bool:
        return self.code == VETO


class Hooks:
    """Runs the commands."""

    def __init__(
        self, *, environ: Mapping[str, str], pass_env: tuple[str, ...], timeout: timedelta
    ) -> None:
        passed = ("PATH", "HOME", *pass_env)
        self._environ = {name: environ[name] for name in passed if name in environ}
        self._timeout = timeout.total_seconds()

    async def run(self, command: str, moment: str, app: App, reason: Reason) -> Outcome:
        """Run one command to its end. A failure is logged, never raised."""
        try:
            process = await asyncio.create_subprocess_shell(
                command,
                env={**self._environ, **_variables(app, moment, reason)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:  # no shell, no process to spare, a command that is too long
            words = error.strerror or type(error).__name__
            log.warning(
                "hook cannot be run", extra={"app": app.name, "hook": moment, "error": words}
            )
            return Outcome(None, "")
        output = bytearray()
        code: int | None
        try:
            async with asyncio.timeout(self._timeout):
                await _read(process, output)
                code = await process.wait()
        except TimeoutError:
            code = None
        finally:
            if process.returncode is None:
                await _end(process)
        text = output.decode(errors="replace").strip()
        extra = {"app": app.name, "hook": moment, "exit": code, "output": text}
        if code == 0:
            log.info("hook ended", extra=extra)
        elif code is None:
            log.warning("hook ran out of time and was ended", extra=extra)
        elif code == VETO and moment == "before-stop":
            log.info("hook wants the stop to come later", extra=extra)
        else:
            log.warning("hook failed", extra=extra)
        return Outcome(code, text)


def _variables(app: App, moment: str, reason: Reason) -> dict[str, str]:
    return {
        "PAASTIS_APP_NAME": app.app_name,
        "PAASTIS_APP_ID": app.identity.app_id,
        "PAASTIS_ACCOUNT": app.identity.account,
        "PAASTIS_PROVIDER": app.provider,
        "PAASTIS_REGION": app.identity.region,
        "PAASTIS_PHASE": moment,
        "PAASTIS_REASON": str(reason),
    }


async def _read(process: asyncio.subprocess.Process, output: bytearray) -> None:
    """Read all the output, so that the hook never blocks on it, and keep its beginning."""
    stream = process.stdout
    while stream is not None and (chunk := await stream.read(8192)):
        output += chunk[: max(0, _OUTPUT_KEPT - len(output))]


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the whole process group, politely first."""
    for sign, grace in ((signal.SIGTERM, _END_GRACE), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await process.wait()
                return
