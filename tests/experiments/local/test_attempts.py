from experiments.local import attempts
from experiments.local.attempts import Attempts


def test_an_id_that_came_before_is_counted() -> None:
    seen = Attempts()
    assert [seen.attempt(name) for name in ("a", "b", "a", None, "a", None)] == [1, 1, 2, 1, 3, 1]
    assert (seen.calls, seen.repeated) == (6, 2)


def test_no_more_than_the_latest_ids_are_remembered() -> None:
    seen = Attempts()
    for number in range(attempts.REMEMBERED + 1):
        seen.attempt(str(number))
    assert seen.attempt("0") == 1
    assert seen.attempt("2") == 2
    assert seen.attempt("1") == 1  # the return of 0 was one too many
