"""One endpoint for all the runs that leave it standing, and what holds of each run that ends."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.soak import served
from experiments.local import process as local_endpoint
from tests.end_to_end.conftest import assert_adds_up
from tests.reliability.kit import RATE_RPS, SHOP, SLOTS, Kit
from tests.reliability.matrix import UNFLUSHED, Fault

TOO_BUSY = 'fails the check "Generator kept up"'
"""A machine that is too busy to send on time gives no run that can be trusted, whatever else."""
Shop = tuple[local_endpoint.LocalEndpoint, Path]


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """An endpoint, and where it notes what it served."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "shop.endpoint.toml").write_text(SHOP)
    endpoint = local_endpoint.start(folder / "shop.endpoint.toml", log_dir=folder)
    yield endpoint, folder / "served.csv"
    endpoint.stop()


@pytest.fixture
def kit(tmp_path: Path, shop: Shop) -> Kit:
    return Kit(tmp_path, *shop)


@pytest.fixture
def put_through(
    tmp_path: Path, shop: Shop, capsys: pytest.CaptureFixture[str]
) -> Callable[[Fault], None]:
    """Cause a fault: the run ends by itself, says what happened, and adds up."""

    def put_through(fault: Fault) -> None:
        kit = Kit(tmp_path / "1", *shop)
        ended = fault.cause(kit)
        if TOO_BUSY in ended.said and ended.code != fault.code:
            with capsys.disabled():
                print(f"\n{fault.name}: this machine was too busy; once more")
            kit = Kit(tmp_path / "2", *shop)
            ended = fault.cause(kit)
        assert ended.code == fault.code, ended.said
        assert fault.said in ended.said
        assert "Traceback" not in ended.said
        if not fault.leaves_a_run:
            assert ended.folder is None
            return
        counts, rows = ended.manifest["counts"], ended.rows
        assert_adds_up(counts)
        assert counts["planned"] < 1000 or counts["unsent"] > 1000
        assert ended.folder is not None
        assert (ended.folder / "report.html").is_file()
        assert counts["ended"] + counts["dropped"] == len(rows) > 50
        assert counts["missing"] == 0 or fault.may_miss
        assert counts["missing"] <= 2 * RATE_RPS or fault.lost != UNFLUSHED
        recorded = {row["seq"] for row in rows}
        assert len(recorded) == len(rows)
        if kit.served_log is not None:
            # What the endpoint saw is the truth: each request once, none without a record but
            # those that are missing.
            seen = served(kit.served_log, ended.manifest["run_id"])
            assert len(set(seen)) == len(seen)
            # What was begun and neither recorded nor served was on its way when it was killed.
            lost = len(rows) + counts["missing"] - len({*seen, *recorded})
            assert 0 <= lost <= (SLOTS if "killed" in fault.name or "twice" in fault.name else 0)

    return put_through
