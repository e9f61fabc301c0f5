"""Make the sample reports under reports/sample anew, by real runs on the local endpoint.

python -m benchmarks.samples
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLANS = ("ab", "load", "regression")


def main() -> None:
    for plan in PLANS:
        with tempfile.TemporaryDirectory() as out:
            command = [sys.executable, "-m", "experiments", "run", plan, "--out", out]
            subprocess.run(command, cwd=ROOT, check=False)
            (run,) = Path(out).iterdir()
            sample = ROOT / "reports" / "sample" / plan
            sample.mkdir(parents=True, exist_ok=True)
            for report in run.glob("report.*"):
                shutil.copy(report, sample / report.name)


if __name__ == "__main__":
    main()
