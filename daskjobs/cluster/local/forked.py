"""Modules that the fork server imports once, before it forks workers, besides those that the work asks for.

Workers ignore Ctrl-C, which reaches every process in a terminal: the process that started them ends them.
"""

import os
import signal

from daskjobs.events import hush

hush()
signal.signal(signal.SIGINT, signal.SIG_IGN)

from daskjobs.cluster.local import processes  # noqa: E402, F401  # with all of distributed, after hush()
from daskjobs.cluster.local.forks import SAFE  # noqa: E402
from daskjobs.cluster.openssl import mend_openssl  # noqa: E402

for _name in SAFE:  # for the fork server alone: what tasks start must not have them, and workers get the user's own
    os.environ.pop(_name, None)
mend_openssl()
