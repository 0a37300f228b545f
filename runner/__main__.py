"""`python -m runner` is `scenario`."""

from runner.cli import main

main()
