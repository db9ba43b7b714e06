"""paastis puts idle PaaS apps to sleep and wakes them when somebody comes back.

This package is the core (no I/O, no clock) with its edges below it: `registry`, `providers`,
`simulate`, `system` and `cli`. The programs are the packages `controller` and `proxy`.
"""

__version__ = "0.1.0"
