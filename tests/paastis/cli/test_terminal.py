"""What is told, and whether anybody reads it."""

import os
import sys

import pytest

from paastis.cli.terminal import LEAST_WIDTH, open_console


def test_reader_that_leaves_ends_the_words_and_not_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        console = open_console()
        console.print("Nobody reads this.")
        console.print("Nor this.")
    assert console.quiet


def test_table_in_a_pipe_keeps_its_width(capsys: pytest.CaptureFixture[str]) -> None:
    open_console().print("x" * LEAST_WIDTH)
    assert capsys.readouterr().out == "x" * LEAST_WIDTH + "\n"
