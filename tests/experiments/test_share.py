"""Shares of a schedule: every request is one worker's, and pairs stay together."""

from hypothesis import given
from hypothesis import strategies as st

from experiments.share import Share


@given(of=st.integers(1, 7), together=st.integers(1, 3), end=st.integers(0, 200))
def test_shares_split_the_schedule_by_index(of: int, together: int, end: int) -> None:
    shares = [Share(rank=rank, of=of, together=together) for rank in range(of)]
    owned = [[i for i in range(end) if i // together % of == rank] for rank in range(of)]
    assert [share.below(end) for share in shares] == [len(own) for own in owned]
    for share, own in zip(shares, owned, strict=True):
        assert [share.index(count) for count in range(len(own))] == own


def test_one_process_has_all() -> None:
    assert [Share().index(count) for count in range(4)] == [0, 1, 2, 3]
    assert Share().below(4) == 4
