"""The endpoint's weights during one run: the shares of the plan's arms, and then its own again."""

from collections.abc import Callable
from contextlib import ExitStack

import gevent

from experiments import restore
from experiments.errors import AbreastError
from experiments.plan import Plan
from experiments.run_folder import RunFolder
from experiments.sagemaker import weights


class Shares:
    """Sets weights where the plan says so, and puts back what was there, whatever happened."""

    def __init__(self, plan: Plan, say: Callable[[str], object]) -> None:
        self._plan = plan
        self._say = say
        self._folder: RunFolder | None = None
        self._hold = ExitStack()
        self._asking = gevent.Greenlet()

    def set(self, folder: RunFolder) -> None:
        """Give the endpoint the arms' shares as weights, and wait until they hold."""
        self._hold.enter_context(restore.held(folder))
        self._folder = folder
        # A greenlet of its own, which nobody ends between the question and its answer.
        self._asking = gevent.spawn(weights.ask, folder, self._plan, self._say)
        if self._asking.get():
            weights.await_set(folder, self._say)

    def put_back(self) -> None:
        """Put back the weights that were there, and say so; it may be called again."""
        folder, self._folder = self._folder, None
        if folder is None:
            return
        self._asking.join()
        try:
            if restore.is_pending(folder):
                weights.restore(folder, self._say)
        except AbreastError as error:
            self._say(f"{error}\nThe weights are not put back: abreast restore {folder.path}")
        finally:
            self._hold.close()
