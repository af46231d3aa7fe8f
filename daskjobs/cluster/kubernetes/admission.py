"""Waits until a Kueue queue admits a Dask cluster's pods, with a time limit that is separate from the start's."""

import time
from collections.abc import Callable, Iterator

import kr8s

from daskjobs.cluster.kubernetes import KubernetesSettings
from daskjobs.cluster.kubernetes.api import POLL_SECONDS
from daskjobs.cluster.kubernetes.diagnosis import held_by
from daskjobs.errors import ClusterError
from daskjobs.events import event

QUEUE_POLL_SECONDS = 2.0  # a queue may take an hour, and each look is a request to the API server


class Admission:
    """The waits for one cluster's pods; ``seconds`` is how long the queue has held them so far.

    The time limit, ``queue_timeout``, counts from the creation of this object, for all pods together. ``tell`` takes a
    sentence for people.
    """

    def __init__(self, api: kr8s.Api, settings: KubernetesSettings, tell: Callable[[str], None]) -> None:
        self.seconds = 0.0
        self._api, self._settings, self._tell = api, settings, tell
        self._end = time.monotonic() + settings.queue_timeout

    def waits(self, component: str) -> Iterator[float]:
        """Yield, for ever, the seconds that a component has taken to start so far, without those in the queue.

        The component is "scheduler" or "worker". Raises ClusterError when the queue admits none of its pods within the
        queue timeout.
        """
        since = time.monotonic()
        announced = False
        while True:
            yield time.monotonic() - since
            if not self._settings.queue or not (gates := held_by(self._api, self._settings, component)):
                time.sleep(POLL_SECONDS)
                continue
            queue = self._settings.queue
            if not announced:
                announced = True
                event("cluster.queued", queue=queue, component=component, gates=gates)
                self._tell(f"waiting for the queue {queue} to admit the Dask {component}'s pod")
            if time.monotonic() > self._end:
                raise ClusterError(
                    f"the queue {queue} did not admit the Dask {component}'s pod, which the scheduling gate {gates} "
                    f"holds, within {self._settings.queue_timeout:,.0f} s: look at its quota (kubectl get "
                    "workloads.kueue.x-k8s.io), or allow more with --queue-timeout"
                )
            time.sleep(QUEUE_POLL_SECONDS)
            now = time.monotonic()
            self.seconds, since = self.seconds + now - since, now
