"""Locust's `constant_throughput` with FastHttpUser, unsigned; settings as in `common`."""

from locust import FastHttpUser, task

from benchmarks.generator.peers.common import URL, take_place, wait_time
from benchmarks.generator.target import BODY, PATH


class FastHttp(FastHttpUser):
    host = URL
    wait_time = wait_time()

    def on_start(self) -> None:
        self.headers = {"content-type": "application/json", "x-user": str(take_place(self))}

    @task
    def invoke(self) -> None:
        self.client.post(PATH, data=BODY, headers=self.headers)
