"""`python -m paastis.cli` is the same as `paastis`."""

from paastis.cli import main

main(prog_name="paastis")
