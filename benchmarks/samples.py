"""Make the sample reports under reports/sample anew, by real runs on the local endpoint.

python -m benchmarks.samples
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "reports" / "sample"
PLANS = ("ab", "load", "regression")


def main() -> None:
    for plan in PLANS:
        with tempfile.TemporaryDirectory() as out:
            command = [sys.executable, "-m", "experiments", "run", plan, "--out", out]
            subprocess.run(command, cwd=ROOT, check=False)
            (run,) = Path(out).iterdir()
            sample = SAMPLES / plan
            sample.mkdir(parents=True, exist_ok=True)
            for report in run.glob("report.*"):
                shutil.copy(report, sample / report.name)
    picture(SAMPLES / "ab" / "report.html", SAMPLES / "ab.png")


def picture(page: Path, target: Path) -> None:
    """Draw the upper end of a page, 1,200 pixels wide, as a browser shows it."""
    chromium = shutil.which("chromium")
    if chromium is None:
        print(f"{target.name} was not made: there is no Chromium. apt-get install chromium")
        return
    command = [
        chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        "--force-device-scale-factor=1.5", "--window-size=800,1280",
        f"--screenshot={target}", page.as_uri(),
    ]  # fmt: skip
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    Image.open(target).quantize(256).save(target, optimize=True)


if __name__ == "__main__":
    main()
