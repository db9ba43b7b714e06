"""Providers made up on this machine: the demo, the tests' far side, and something to be curious with."""
