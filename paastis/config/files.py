"""The files that configuration is read from: `.env`, and the one with rules and accounts.

`Files` is what a directory holds of them, for who needs only some of what they say: a command for
a cluster must not ask for a provider's token.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from dotenv.parser import parse_stream

from paastis.config.reader import Reader
from paastis.config.rules_file import FileContent, parse_rules_file
from paastis.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Files:
    """What was read from the files of a directory, and what could not be."""

    environ: Mapping[str, str]
    dotenv: Mapping[str, str]
    overrides: Mapping[str, str]
    """The command line's say, by name of variable."""
    rules_path: str
    """What to call the file with rules and accounts."""
    rules_text: str | None
    """None: there is none."""
    problems: tuple[str, ...]

    def reader(self) -> Reader:
        """For the variables: command line, environment, `.env`."""
        return Reader((self.overrides, self.environ, self.dotenv))


def read_files(
    directory: Path, *, environ: Mapping[str, str], overrides: Mapping[str, str] | None = None
) -> Files:
    """Read `.env` and `paastis.yml` (or what `PAASTIS_CONFIG` names) in a directory.

    Either may be missing, but not one that was named. Never raises: what is wrong is in `problems`.
    """
    problems: list[str] = []
    dotenv = _parse_dotenv(_read_text(directory / ".env", ".env", problems) or "", problems)
    named = Reader((overrides or {}, environ, dotenv)).given("PAASTIS_CONFIG")
    name = named or "paastis.yml"
    rules_text = None
    if "\x00" in name:
        problems.append("PAASTIS_CONFIG: the path holds a NUL character")
    else:
        before = len(problems)
        rules_text = _read_text(directory / name, name, problems)
        if named and rules_text is None and len(problems) == before:
            problems.append(f"PAASTIS_CONFIG: there is no file {name!r}; expected rules in it")
    return Files(environ, dotenv, overrides or {}, name, rules_text, tuple(problems))


def read_rules(
    directory: Path, *, environ: Mapping[str, str], overrides: Mapping[str, str] | None = None
) -> FileContent:
    """The rules of the file alone: its accounts may be incomplete, their tokens absent.

    Raises ConfigError for what is wrong with the rules, or where there is no file.
    """
    files = read_files(directory, environ=environ, overrides=overrides)
    problems = list(files.problems)
    content = FileContent()
    if files.rules_text is not None:
        content = parse_rules_file(
            files.rules_text,
            name=files.rules_path,
            variable=None,
            insecure=False,
            problems=problems,
        )
    elif not problems:
        problems.append(f"there is no {files.rules_path} here; expected one, or --config FILE")
    if problems:
        raise ConfigError(problems)
    return content


def _read_text(path: Path, name: str, problems: list[str]) -> str | None:
    """The text of a file; None where there is none, or where that was a problem."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None
    except OSError as error:
        problems.append(f"{name}: cannot be read: {error.strerror or error}")
    except UnicodeDecodeError as error:
        problems.append(f"{name}: not text in UTF-8 (byte {error.start + 1})")
    return None


def _parse_dotenv(text: str, problems: list[str]) -> dict[str, str]:
    """The variables of a `.env` file. `${…}` stays as it is: hooks are shell commands."""
    found = {}
    for binding in parse_stream(StringIO(text)):
        if binding.error:
            # The line itself is not shown: it may hold a token.
            problems.append(f".env, line {binding.original.line}: cannot be read as NAME=value")
        elif binding.key is not None and binding.value is not None:
            found[binding.key] = binding.value
    return found
