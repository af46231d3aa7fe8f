"""The program of each pod of `daskjobs doctor --network`: listens, tries to reach others, and prints the outcomes.

    python -m daskjobs.cluster.kubernetes.probe 8786 +10.244.0.7:8786 -10.244.0.9:8786

listens on port 8786. A target with + should be reachable, and one with - should not. The program prints one line of
JSON: by target, why it could not be reached, or an empty text. Then it listens until its pod is removed.
"""

import json
import signal
import socket
import sys
import time
from urllib.parse import urlsplit

TRY_SECONDS = 2.0  # for one connection
PATIENCE_SECONDS = 15.0  # networks apply new pods and policies with a delay
SURE = 3  # failures in a row before a connection counts as forbidden: the network may not be ready yet


def listen(port: int) -> socket.socket:
    """Listen on all addresses; the kernel completes connections even if nobody accepts them."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def outcome(target: str) -> str:
    """Say why a target, "+host:port" or "+https://host", could not be reached, or return an empty text if it was.

    Tries again until the outcome is the expected one, for 15 s at most.
    """
    wished = target.startswith("+")
    url = urlsplit(target[1:] if "://" in target else f"tcp://{target[1:]}")
    host, port = str(url.hostname), url.port or (80 if url.scheme == "http" else 443)
    deadline, in_a_row = time.monotonic() + PATIENCE_SECONDS, 0
    while True:
        why = connect(host, port)
        in_a_row = in_a_row + 1 if wished == (why == "") else 0
        if in_a_row >= (1 if wished else SURE) or time.monotonic() > deadline:
            return why
        time.sleep(TRY_SECONDS / 4)


def connect(host: str, port: int) -> str:
    """Connect once; return why it failed, or an empty text."""
    try:
        socket.create_connection((host, port), TRY_SECONDS).close()
    except OSError as error:
        return str(error) or type(error).__name__
    return ""


if __name__ == "__main__":
    with listen(int(sys.argv[1])):
        known = [target for target in sys.argv[2:] if "$(" not in target]  # not those of variables that aren't set
        print(json.dumps({target[1:]: outcome(target) for target in known}), flush=True)
        signal.pause()
