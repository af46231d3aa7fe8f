"""What the process that local workers are forked from has before they are: their modules, imported once for all.

Ctrl-C reaches every process in a terminal; who started the workers ends them.
"""

import signal
from importlib import import_module

from daskjobs.log import hush

hush()
signal.signal(signal.SIGINT, signal.SIG_IGN)
import_module("daskjobs.stages.validate")
import_module("daskjobs.openssl").mend()
