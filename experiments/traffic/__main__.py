"""Locust as a run's engine: `python -m experiments.traffic` is `locust` without its config files.

A locust.conf, a ~/.locust.conf or a pyproject.toml in the surroundings must not alter a run.
"""

import locust.argument_parser
from locust.main import main

for _make_parser in (
    locust.argument_parser.get_empty_argument_parser,
    locust.argument_parser.get_parser,
):
    _defaults = _make_parser.__defaults__ or ()
    _make_parser.__defaults__ = (*_defaults[:-1], ())

main()  # type: ignore[no-untyped-call]
