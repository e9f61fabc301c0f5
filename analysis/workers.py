"""Did every worker of a run send its share, and do their clocks agree?"""

from analysis.read import Run
from analysis.render.format import latency, share
from analysis.results.run import Check

MOST_UNCERTAIN_MS = 50.0
"""Of a worker's clock: half the time of the best message there and back, or how far it drifted."""


def check_workers(run: Run) -> Check | None:
    """Check the workers of a run; `None` where one process sent it."""
    workers = run.manifest.get("workers")
    if not workers:
        return None
    title = "Workers stayed"
    said = []
    for worker in workers:
        lacks = worker.get("unsent", 0) + worker.get("missing", 0)
        if worker["state"] != "done" and (lacks or run.plan.traffic.is_closed):
            lost = "was stopped" if worker["state"] == "interrupted" else "was lost"
            part = ""
            if lacks:
                part = f" and {share(lacks / run.counts['planned'])} of the run's requests with it"
            said.append(f"worker {worker['rank']} on {worker['host']} {lost}{part}")
    if said:
        kept = [f"{worker['spool']} of {worker['host']}" for worker in workers if worker["spool"]]
        step = "Make the run again."
        if kept:
            step = f"Copy what is left in {', '.join(kept)} into requests/ here, and judge it again"
            step += " with `abreast report`; or make the run again."
        return Check("workers", title, "fail", "; ".join(said), step)
    uncertain_ms = max(worker["rtt_ms"] for worker in workers) / 2
    finding = f"{len(workers)} workers, clocks known to within {latency(uncertain_ms)}"
    drift_ms = max(abs(worker.get("drift_ms") or 0.0) for worker in workers)
    if drift_ms > uncertain_ms:
        finding += f", and {latency(drift_ms)} further apart at the end"
    returned = [str(worker["rank"]) for worker in workers if worker["was_silent"]]
    if returned:
        finding += f"; {', '.join(returned)} fell silent for a while, and nothing of it is missing"
    if max(uncertain_ms, drift_ms) > MOST_UNCERTAIN_MS:
        step = "Put the workers nearer to the master"
        if drift_ms > uncertain_ms:
            step = "Keep the machines' clocks in step (NTP), or make shorter runs"
        step += ": their requests are out of step by so much."
        return Check("workers", title, "warn", finding, step)
    return Check("workers", title, "ok", finding)
