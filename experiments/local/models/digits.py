"""Two classifiers of scikit-learn's handwritten digits, one slow and one fast, and their payloads.

Both learn from the same 60 % of the 1,797 digits; the held-out 40 % are the payloads of the
built-in plans. A trained model is kept on disk for the next start.
"""

import hashlib
import json
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

from experiments.errors import AbreastError

ModelName = Literal["digits-forest", "digits-svm"]
FEATURES = 64

_SPLIT = {"test_size": 0.4, "random_state": 0}
logger = logging.getLogger(__name__)


def load(name: ModelName) -> Any:
    """Return the fitted scikit-learn classifier, from the cache or trained and then kept there.

    Raises:
        AbreastError: scikit-learn is not installed.
    """
    try:
        import joblib
        import sklearn
    except ImportError as error:
        raise AbreastError(
            f"The model {name} needs scikit-learn, which is not installed.",
            "Install the extra `local`: pip install 'abreast[local]'.",
        ) from error
    estimator = _estimator(name)
    recipe = repr((sorted(estimator.get_params().items()), _SPLIT))
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
    directory = _private_directory()
    path = directory / f"{name}-{sklearn.__version__}-{digest}.joblib" if directory else None
    if path is not None and path.exists():
        try:
            return joblib.load(path)
        except Exception:
            logger.exception("%s cannot be loaded; the model is trained again", path)
    train, _, train_labels, _ = _split()
    estimator.fit(train, train_labels)
    if path is not None:
        _keep(estimator, path)
    return estimator


def payload_lines() -> list[str]:
    """Return the held-out rows, a JSON text each: the request's `instances`, and the `label`."""
    _, rows, _, labels = _split()
    return [
        json.dumps({"instances": [[int(value) for value in row]], "label": int(label)})
        for row, label in zip(rows, labels, strict=True)
    ]


def _estimator(name: ModelName) -> Any:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.svm import SVC

    return RandomForestClassifier(400, random_state=0) if name == "digits-forest" else SVC()


def _split() -> Any:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    rows, labels = load_digits(return_X_y=True)
    return train_test_split(rows, labels, stratify=labels, **_SPLIT)


def _private_directory() -> Path | None:
    """Return the cache, or None where it cannot be one. Loading a pickle executes what is in it."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(base) / "abreast" / "models"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = directory.stat()
    except OSError as error:
        logger.warning("%s cannot be used (%s); the model is trained in memory", directory, error)
        return None
    if state.st_uid != os.getuid() or state.st_mode & 0o077:
        logger.warning("%s is open to others; the model is trained in memory", directory)
        return None
    return directory


def _keep(estimator: Any, path: Path) -> None:
    """Write in one step: two processes may train the same model at once."""
    import joblib

    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            joblib.dump(estimator, file)
        Path(file.name).replace(path)
    except OSError as error:
        logger.warning("the trained model is not kept: %s", error)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text("\n".join(payload_lines()) + "\n", encoding="utf-8")
