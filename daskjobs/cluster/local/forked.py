"""What the fork server imports once, before it forks workers, besides the modules that the work asks for.

Workers ignore Ctrl-C: it reaches every process in a terminal, and the process that started them ends them.
"""

import signal

from daskjobs.events import hush

hush()
signal.signal(signal.SIGINT, signal.SIG_IGN)

from daskjobs.cluster.openssl import mend_openssl  # noqa: E402  # with all of distributed, after hush()

mend_openssl()
