"""A model server of its own process: one model behind SageMaker's container contract."""

import argparse
import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

import jmespath
import numpy as np
from numpy.typing import NDArray

from experiments import child
from experiments.errors import AbreastError
from experiments.local import http
from experiments.local.http import Handler, Request, Response
from experiments.local.models import digits
from experiments.local.sessions import SESSION_ID, RefusedError, Sessions

JSON = "application/json"
CSV = "text/csv"
_EXPLANATIONS = "x-amzn-sagemaker-enable-explanations"
_NICENESS = 10

Rows = NDArray[np.float64]
Predict = Callable[[Rows], NDArray[np.int64]]


def application(predict: Predict, features: int) -> Handler:
    """Return the handler that serves `predict`, which maps rows of `features` numbers to labels.

    Predictions run one at a time in a thread of their own, so that pings are answered meanwhile.
    """
    worker = ThreadPoolExecutor(max_workers=1)
    sessions = Sessions()

    async def handle(request: Request) -> Response:
        path = request.target.partition("?")[0]
        method = {"/ping": "GET", "/invocations": "POST"}.get(path)
        if method is None:
            return http.text(404, "This model server answers GET /ping and POST /invocations.")
        if request.method != method:
            return http.text(405, f"{path} takes {method}.")
        if path == "/ping":
            return Response(status=200, headers={}, body=b"")
        try:
            of_session = sessions.answer(request.headers, request.body)
            if not request.body and SESSION_ID in request.headers:
                return Response(status=200, headers=of_session, body=b"")
            kind = _media_type(request.headers.get("content-type", ""))
            wanted = _wanted(request.headers.get("accept"), kind)
            rows = _rows(kind, request.body, features)
            explains = _compiled(request.headers.get(_EXPLANATIONS))
        except RefusedError as refused:
            return http.text(refused.status, str(refused))
        ask = asyncio.get_running_loop().run_in_executor
        labels = await ask(worker, predict, rows)
        body = _written(wanted, labels)
        if explains is not None:
            body = await ask(worker, _explained, explains, wanted, body, rows, labels, predict)
            wanted = JSON
        return Response(status=200, headers={"Content-Type": wanted, **of_session}, body=body)

    return handle


def _media_type(value: str) -> str:
    kind = value.partition(";")[0].strip().lower()
    if kind not in (JSON, CSV):
        raise RefusedError(415, f'Content-Type is "{value}"; this model reads {JSON} and {CSV}.')
    return kind


def _wanted(accept: str | None, kind: str) -> str:
    if not accept:
        return kind
    for media_range in accept.split(","):
        wanted = media_range.partition(";")[0].strip().lower()
        if wanted == "*/*":
            return kind
        if wanted in (JSON, CSV):
            return wanted
    raise RefusedError(406, f'Accept is "{accept}"; this model writes {JSON} and {CSV}.')


def _rows(kind: str, body: bytes, features: int) -> Rows:
    try:
        content = body.decode("utf-8")
        rows = _read_json(content) if kind == JSON else _read_csv(content)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, f"The body cannot be read as {kind}: {error}") from None
    if rows.ndim != 2 or rows.shape[1] != features or not len(rows) or rows.dtype.kind not in "iuf":
        raise RefusedError(400, f"The body must hold rows of {features} numbers each.")
    values = rows.astype(np.float64)
    if not (np.abs(values) < np.finfo(np.float32).max).all():  # NaN is not, either
        raise RefusedError(400, "The body must hold numbers that a 32-bit float can hold.")
    return values


def _read_json(content: str) -> NDArray[Any]:
    document = json.loads(content)
    if not isinstance(document, dict) or "instances" not in document:
        raise ValueError('it must be an object with the key "instances".')
    return np.array(document["instances"])


def _read_csv(content: str) -> NDArray[Any]:
    return np.array([[float(cell) for cell in line.split(",")] for line in content.splitlines()])


def _written(kind: str, labels: NDArray[np.int64]) -> bytes:
    if kind == JSON:
        return json.dumps({"predictions": [{"label": int(label)} for label in labels]}).encode()
    return "".join(f"{label}\n" for label in labels).encode()


def _compiled(expression: str | None) -> Any:
    """Return the JMESPath expression that says which records are explained."""
    try:
        return None if expression is None else jmespath.compile(expression)
    except jmespath.exceptions.JMESPathError as error:
        raise RefusedError(400, f"EnableExplanations is not valid JMESPath: {error}") from None


def _explained(
    explains: Any, wanted: str, written: bytes, rows: Rows, labels: Any, predict: Predict
) -> bytes:
    """Return the answer in the layout of SageMaker Clarify's online explanations.

    The method is occlusion (Zeiler and Fergus, 2014): a feature counts 1 where the label would be
    another if it were 0, and otherwise 0. A record that is not to be explained has an empty list.
    """
    is_left_out = np.eye(rows.shape[1], dtype=bool)
    explanations = []
    for label, row in zip(labels, rows, strict=True):
        try:
            is_explained = explains.search({"label": int(label)}) is True
        except jmespath.exceptions.JMESPathError:
            is_explained = False
        # Row by row: all at once would take as many times the memory as there are features.
        changes = predict(np.where(is_left_out, 0.0, row)) != label if is_explained else []
        explanations.append([{"attributions": [{"attribution": [float(c)]}]} for c in changes])
    return json.dumps(
        {
            "version": "1.0",
            "predictions": {"content_type": wanted, "data": written.decode()},
            "explanations": {"occlusion": explanations},
        }
    ).encode()


async def _serve(handler: Handler) -> None:
    listener = http.listen("127.0.0.1", 0)
    async with http.serve(handler, listener):
        sys.stdout.write(json.dumps({"port": listener.getsockname()[1]}) + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main() -> int:
    """Serve the model named on the command line until stdin ends; the exit status."""
    parser = argparse.ArgumentParser(description="Serve one of abreast's own models.")
    parser.add_argument("--model", required=True, choices=get_args(digits.ModelName))
    options = parser.parse_args()
    logging.basicConfig(format="%(levelname)s %(message)s")
    child.end_with_parent()
    os.setpgid(0, 0)  # Ctrl-C is for the endpoint, which ends its models
    # A model is busy by design; the endpoint and the client beside it must not wait for a core.
    os.nice(_NICENESS)
    try:
        predict = digits.load(options.model).predict
        predict(np.zeros((1, digits.FEATURES)))  # the first prediction is slower than the others
        http.run(_serve(application(predict, digits.FEATURES)))
    except AbreastError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
