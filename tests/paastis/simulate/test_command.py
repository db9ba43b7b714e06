"""The command `paastis simulate scalingo`, as a program of its own."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from paastis.cli.simulate import simulate

if TYPE_CHECKING:
    from pathlib import Path

FREE = ["--listen", "127.0.0.1:0", "--front-listen", "127.0.0.1:0"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_prints_its_addresses_and_ends_cleanly_on_a_signal(number: signal.Signals) -> None:
    program = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from paastis.cli.simulate import simulate; simulate()",
            "scalingo",
            *FREE,
            "-v",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    lines = []
    for line in program.stdout:
        lines.append(line.strip())
        if "Ctrl-C" in line:
            break
    settings = dict(line.split("=") for line in lines if line.startswith("PROVIDER_"))
    url = settings["PROVIDER_SCALINGO_API_URL"]
    with urllib.request.urlopen(f"{url}/v1/regions") as answer:  # noqa: S310 - it is http
        assert answer.status == 200
    program.send_signal(number)
    out, err = program.communicate(timeout=10)

    assert (program.returncode, err) == (0, "")
    assert re.search(r"GET +/v1/regions 200\nEnded\.", out)
    assert settings["PROVIDER_NAME"] == "scalingo"
    assert settings["PROVIDER_SCALINGO_API_TOKEN"] == "tk-us-simulated"
    assert settings["PROVIDER_SCALINGO_AUTH_URL"] == url


@pytest.mark.parametrize("option", ["--listen", "--front-listen"])
def test_port_in_use_is_one_sentence_and_exit_2(option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = CliRunner().invoke(simulate, ["scalingo", *FREE, option, address])
    assert result.exit_code == 2
    assert result.stderr == f"can't listen on {address}: address already in use\n"


def test_mistakes_in_the_apps_file_are_told_and_exit_2(tmp_path: Path) -> None:
    file = tmp_path / "apps.yml"
    file.write_text("apps:\n- name: A\n- name: b\n  colour: red\n")
    result = CliRunner().invoke(simulate, ["scalingo", "--apps", str(file)])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 2
    assert f"{file}, line 4: unknown key 'colour'" in result.stderr


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--listen", "8701"),
        ("--listen", "host:99999"),
        ("--latency", "soon"),
        ("--rate-limit", "-1"),
        ("--booting", "later"),
    ],
)
def test_bad_option_is_named_and_exit_2(option: str, value: str) -> None:
    result = CliRunner().invoke(simulate, ["scalingo", option, value])
    assert result.exit_code == 2
    assert option in result.stderr
    assert value in result.stderr
