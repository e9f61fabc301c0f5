"""`python -m experiments` is `abreast`."""

from experiments.cli import main

main()
