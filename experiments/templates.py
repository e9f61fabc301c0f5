"""Parameters that vary from request to request: texts of a plan with names in braces to fill in.

`{run_id}` and `{seq}` are the run's id and the request's number in it. `{payload.FIELD}` is a field
of the payload, which is taken out of the body before that is sent; other braces stay as they are.
"""

import re
from collections.abc import Callable, Mapping

_VARY = ("target_model", "session_id", "inference_id", "custom_attributes")
_OF_PAYLOAD = "payload."
_BLANK = re.compile(r"\{(seq|payload\.[^{}]+)\}")
_LIKE_A_BLANK = re.compile(r"\{\s*(?:payload\s*[.}]|(?:seq|run_id)\s*\})[^{}]*\}?")

Fill = Callable[[Mapping[str, str], int], str]
"""From a payload's fields and a request's number to a value."""


def filled_in(text: str, run_id: str) -> Fill | str:
    """Fill a text in, or make the function that does where something varies within a run."""
    pieces = _BLANK.split(text.replace("{run_id}", run_id))
    names = pieces[1::2]
    if not names:
        return pieces[0]
    if names == ["seq"]:  # as most InferenceIds; by the general way each would cost 0.4 µs more
        before, _, after = pieces
        return lambda _fields, seq: f"{before}{seq}{after}"

    def fill(fields: Mapping[str, str], seq: int) -> str:
        filled = pieces.copy()
        filled[1::2] = [
            str(seq) if name == "seq" else fields[name.removeprefix(_OF_PAYLOAD)] for name in names
        ]
        return "".join(filled)

    return fill


def fields_in(text: str) -> list[str]:
    """Name the payload's fields that a text takes."""
    return [name.removeprefix(_OF_PAYLOAD) for name in _BLANK.findall(text) if name != "seq"]


def refuse_other_blanks(where: str, text: str) -> None:
    """Refuse what looks like a blank, and would be sent as it stands; `where` is its key."""
    varies = where.rpartition(".")[2] in _VARY
    rest = _BLANK.sub("", text.replace("{run_id}", "")) if varies else text
    if found := _LIKE_A_BLANK.search(rest):
        raise ValueError(
            f'{where} holds "{found[0]}": {{payload.FIELD}}, {{seq}} and {{run_id}} are filled in '
            f"where they are written just so, in {', '.join(_VARY[:-1])} and {_VARY[-1]}"
        )
