"""Shows a run in a browser as it goes: a page of live charts, and a tab of Locust's own interface.

Both show what `experiments.live` holds, and neither a verdict. The interface can start load, and
has no login unless it is given one, so it is reached from this machine only.
"""

import ipaddress
import json
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, jsonify, request, send_from_directory
from gevent.event import Event
from locust.stats import StatsEntry, StatsError, bucket_response_time

from experiments.errors import AbreastError
from experiments.live import Tally
from experiments.traffic.dispatch import Dispatch

LOOPBACK = "127.0.0.1"
METHOD = "InvokeEndpoint"
"""What Locust's table says of every request."""

_FILES = Path(__file__).parent / "live"
_STILL_WATCHED_S = 3.0
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'"
)
_QUANTILES = (0.5, 0.9, 0.99)
_COLUMNS = {
    "arm": "Arm",
    "requests": "Requests",
    "failed": "Failed",
    "rate": "Requests/s, last 10 s",
    "now50": "p50 ms, last 10 s",
    "now99": "p99 ms, last 10 s",
    "p50": "Response p50 ms",
    "p99": "Response p99 ms",
    "service50": "Service p50 ms",
    "service99": "Service p99 ms",
}


def check_address(host: str, *, has_login: bool) -> None:
    """Check that only this machine reaches Locust's interface, or that it asks for a login."""
    if not has_login and not _is_loopback(host):
        raise AbreastError(
            f'--web-host "{host}": whoever reaches this machine could start and stop load, since '
            "Locust's web interface has no login.",
            f"Leave out --web-host, which is {LOOPBACK} then, and come by ssh -L; or give "
            "--web-login, with a locustfile that sets a login up.",
        )


class LivePage:
    """What the browser is shown: the run under way, or else the last one."""

    def __init__(self, web_ui: Any, *, is_supervised: bool) -> None:
        self._dispatch: Dispatch | None = None
        self._is_over = False
        self._asked_s = -_STILL_WATCHED_S
        self._told_end = Event()
        self._web_ui = web_ui
        if is_supervised and not _is_free(web_ui.host, web_ui.port):
            web_ui.port = 0
        self._add_tab(web_ui)
        self._add_page(web_ui)
        self._guard(web_ui, is_supervised=is_supervised)

    @property
    def address(self) -> str:
        """Say where it is, once Locust serves it."""
        web_ui = self._web_ui
        name = f"[{web_ui.host}]" if ":" in web_ui.host else web_ui.host
        base = web_ui.environment.parsed_options.web_base_path or ""
        place = f"http{'s' * bool(web_ui.tls_cert)}://{name}:{web_ui.server.server_port}{base}"
        return f"Live charts: {place}/live"

    def follow(self, dispatch: Dispatch) -> None:
        """Show a run from here on."""
        self._dispatch, self._is_over = dispatch, False
        self._told_end.clear()

    def end(self) -> None:
        """Show the run's end, and give a page that is open the time to ask for it."""
        self._is_over = True
        if time.monotonic() < self._asked_s + _STILL_WATCHED_S:
            self._told_end.wait(_STILL_WATCHED_S)

    def _view(self, seen: int) -> str:
        self._asked_s = time.monotonic()
        if (dispatch := self._dispatch) is None:
            return '{"stage": "starting"}'
        if self._is_over:
            self._told_end.set()
        return view(dispatch, seen, is_over=self._is_over)

    def _add_page(self, web_ui: Any) -> None:
        def page(name: str = "live.html") -> Response:
            return send_from_directory(_FILES, name)

        def data() -> Response:
            seen = request.args.get("seen", 0, type=int)
            return Response(self._view(seen), mimetype="application/json")

        def forbid(response: Response) -> Response:
            response.headers["Content-Security-Policy"] = _POLICY
            response.headers["X-Content-Type-Options"] = "nosniff"
            response.headers["Cache-Control"] = "no-store"
            return response

        prefix = web_ui.environment.parsed_options.web_base_path
        pages = Blueprint("abreast", __name__, url_prefix=prefix)
        file = web_ui.auth_required_if_enabled(page)
        pages.add_url_rule("/live", view_func=file)
        pages.add_url_rule("/live/<name>", view_func=file)
        pages.add_url_rule("/live.json", view_func=web_ui.auth_required_if_enabled(data))
        pages.after_request(forbid)
        web_ui.app.register_blueprint(pages)

    def _add_tab(self, web_ui: Any) -> None:
        def fill(response: Response) -> Response:
            if request.endpoint == "locust.request_stats" and response.is_json:
                rows = [] if self._dispatch is None else _rows(self._dispatch)
                answer = {**response.get_json(), "extended_stats": [{"key": "arms", "data": rows}]}
                response.set_data(json.dumps(answer))
            return response

        structure = [{"key": key, "title": title} for key, title in _COLUMNS.items()]
        web_ui.template_args |= {
            "extended_tabs": [{"title": "Arms", "key": "arms"}],
            "extended_tables": [{"key": "arms", "structure": structure}],
            "extended_csv_files": [{"href": "./live", "title": "Live charts of the arms"}],
        }
        web_ui.app.after_request(fill)

    def _guard(self, web_ui: Any, *, is_supervised: bool) -> None:
        def refuse() -> Response | None:
            # Locust lets every page call it, and a name that is made to lead here is such a page.
            origin = request.headers.get("Origin", f"//{request.host}")
            is_foreign = not (origin.endswith(f"//{request.host}") and _is_loopback(request.host))
            if is_foreign and not web_ui.web_login:
                said = "Only pages of this machine are answered: see --web-host and --web-login."
                return Response(said, 403, mimetype="text/plain")
            if is_supervised and request.endpoint == "locust.swarm":
                said = "abreast run starts the run, and its plan says what is sent."
                return jsonify({"success": False, "message": said})
            return None

        web_ui.app.before_request(refuse)


def view(dispatch: Dispatch, seen: int, *, is_over: bool) -> str:
    """Give what the page shows, as JSON: totals by arm, and the points after the first `seen`."""
    live = dispatch.health.live
    count, points = live.points_after(seen)
    plan = dispatch.prepared.plan
    arms = [*plan.arms, *(arm for arm in live.totals if arm not in plan.arms)]
    shown = {
        "run_id": dispatch.folder.run_id,
        "stage": "ended" if is_over else dispatch.stage,
        "ended_as": dispatch.ended_as,
        "elapsed_s": live.newest.elapsed_s if is_over else max(dispatch.elapsed_s, 0.0),
        "length_s": plan.traffic.planned_s,
        "planned": dispatch.planned,
        "begun": dispatch.begun,
        "in_flight": dispatch.in_flight,
        "arms": [{"arm": arm, **_totals(live.totals.get(arm, Tally()))} for arm in arms],
        "recent": dispatch.recent,
        "seen": count,
    }
    return f'{json.dumps(shown)[:-1]}, "points": {points}}}'


def _totals(tally: Tally) -> dict[str, Any]:
    return {
        "ended": tally.ended,
        "dropped": tally.dropped,
        "failed": tally.failed,
        "response_ms": [tally.response.quantile_ms(each) for each in _QUANTILES],
        "service_ms": [tally.service.quantile_ms(each) for each in _QUANTILES],
    }


def _rows(dispatch: Dispatch) -> list[dict[str, Any]]:
    rows = []
    for arm, tally in dispatch.health.live.totals.items():
        now = dispatch.recent["arms"].get(arm, {})
        figures = [now.get(each) for each in ("rate_rps", "p50_ms", "p99_ms")]
        figures += [s.quantile_ms(q) for s in (tally.response, tally.service) for q in (0.5, 0.99)]
        row = [arm, tally.ended, tally.failures, *map(_short, figures)]
        rows.append(dict(zip(_COLUMNS, row, strict=True)))
    return rows


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def fill_table(stats: Any, arms: Mapping[str, Tally]) -> None:
    """Add a second to Locust's own table, which costs less than adding each of its requests.

    `stats` is Locust's `RequestStats`. Its times are those of good answers, as everywhere here.
    """
    now_s = time.time()
    for arm, tally in arms.items():
        failed = tally.failures
        entry: Any = StatsEntry(stats, arm, METHOD)
        entry.last_request_timestamp = now_s
        entry.num_requests = tally.ended
        entry.num_failures = entry.num_none_requests = failed
        entry.num_reqs_per_sec[int(now_s)], entry.num_fail_per_sec[int(now_s)] = tally.ended, failed
        times_ms = list(tally.response.durations_ms())
        entry.total_response_time = sum(time_ms * count for time_ms, count in times_ms)
        if times_ms:
            entry.min_response_time, entry.max_response_time = times_ms[0][0], times_ms[-1][0]
        for time_ms, count in times_ms:
            entry.response_times[bucket_response_time(time_ms)] += count
        stats.get(arm, METHOD).extend(entry)
        stats.total.extend(entry)
        for outcome, count in tally.failed.items():
            key = StatsError.create_key(METHOD, arm, outcome)
            stats.errors.setdefault(key, StatsError(METHOD, arm, outcome)).occurrences += count


def _is_free(host: str, port: int) -> bool:
    try:
        socket.create_server((host, port)).close()
    except OSError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    """Whether an address, or the Host header of a request, is this machine's alone."""
    try:
        name = host if host.count(":") > 1 and "[" not in host else urlsplit(f"//{host}").hostname
        return name == "localhost" or ipaddress.ip_address(name or "").is_loopback
    except ValueError:
        return False
