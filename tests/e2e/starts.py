"""A hundred starts of a Dask cluster in a row, with random faults: make starts ARGS="--starts N --seed N"

KUBECONFIG names a cluster with the Dask operator, and the image daskjobs:dev is in it. This runs itself in a pod, which
starts one cluster after the other. Each is struck while it works: a worker is killed, or a client to which the
scheduler is writing, or somebody without the key pair connects and resets the connections. It exits with 1 unless each
cluster did all of its work, and everything is gone.
"""

import argparse
import fcntl
import os
import random
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from distributed import Client

import daskjobs
from daskjobs.cluster.addresses import host_port

START_SECONDS = 200
CLIENT = """
import sys
from distributed import Client
from daskjobs.cluster.security import KeyPair
pair = KeyPair(*sys.stdin.read().split("\\0"))
client = Client(sys.argv[1], security=pair.security(), timeout=30)
futures = client.map(lambda number: bytes(100_000), range(50), pure=False)
print("writes", flush=True)
client.gather(futures, direct=False)
client.gather(client.map(lambda number: bytes(100_000), range(5_000), pure=False), direct=False)
"""


def kill_a_worker(client: Client, name: str) -> None:
    """End the process of one worker, which its nanny starts again."""
    victim = next(iter(client.scheduler_info(n_workers=-1)["workers"]))
    client.run(os._exit, 9, workers=[victim], on_error="ignore")


def kill_a_client(client: Client, name: str) -> None:
    """Kill another client, to which the scheduler is writing."""
    address = client.scheduler.address  # type: ignore[union-attr]
    with subprocess.Popen(
        [sys.executable, "-c", CLIENT, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin
        assert other.stdout
        other.stdin.write(f"{client.security.tls_client_cert}\0{client.security.tls_client_key}")
        other.stdin.close()
        assert other.stdout.readline() == "writes\n"
        time.sleep(random.uniform(0, 1))
        other.kill()


def connect_without_a_certificate(client: Client, name: str) -> None:
    """Connect as who has no certificate does, and as who speaks no TLS does; reset some of these connections."""
    host, port = host_port(client.scheduler.address.partition("://")[2])  # type: ignore[union-attr]
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for number in range(10):
        raw = socket.create_connection((host, port), timeout=10)
        if number % 2:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        try:
            if number % 3:
                context.wrap_socket(raw).sendall(b"hello")
            else:
                raw.sendall(b"hello")
        except OSError:
            continue
        finally:
            raw.close()


FAULTS: tuple[Callable[[Client, str], None], ...] = (kill_a_worker, kill_a_client, connect_without_a_certificate)


def start(number: int, dice: random.Random) -> bool:
    """Start one cluster, strike it while it works, and tell whether all of its work was done."""
    fault, begun, said = dice.choice(FAULTS), time.monotonic(), "good"
    name = f"start-{number}"
    try:
        with daskjobs.dask_cluster(workers=2, worker_cpu="20m", worker_memory="512Mi", key=name) as client:
            futures = client.map(lambda number: (time.sleep(0.1), number)[1], range(40), pure=False, retries=5)
            time.sleep(dice.uniform(0, 1))
            fault(client, f"dv-{os.environ['DASKJOBS_WORKFLOW_UID']}-{name}")
            done = client.submit(sum, client.gather(futures)).result(timeout=60)
            assert done == sum(range(40)), done
    except Exception as error:
        said = f"BAD {type(error).__name__}: {error}"
    print(f"{number:3d}  {fault.__name__:30s}  {time.monotonic() - begun:5.1f} s  {said}", flush=True)
    return said == "good"


def in_pod(starts: int, seed: int) -> int:
    dice = random.Random(seed)
    bad = sum(not start(number, dice) for number in range(1, starts + 1))
    print(f"{starts} starts, {bad} bad", flush=True)
    return int(bad > 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("starts", 100), ("seed", 7)):
        parser.add_argument(f"--{name}", type=int, default=default)
    chosen = parser.parse_args()
    if os.environ.get("DASKJOBS_POD"):
        sys.exit(in_pod(chosen.starts, chosen.seed))
    from e2e.conftest import cluster_lock, installed

    with cluster_lock(fcntl.LOCK_SH), installed() as namespace:
        pod = namespace.pod(
            f'python -c "$SCRIPT" --starts {chosen.starts} --seed {chosen.seed}', SCRIPT=Path(__file__).read_text()
        )
        code, log = namespace.ended(pod, chosen.starts * START_SECONDS)
        print("\n".join(line for line in log.splitlines() if " s  " in line or "starts, " in line))
        left = namespace.dask_objects()
        print(f"{len(left)} objects left")
    sys.exit(bool(code or left))


if __name__ == "__main__":
    main()
