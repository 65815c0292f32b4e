"""`python -m snellen` is the command line."""

from snellen.cli import main

main()
