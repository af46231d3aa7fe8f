"""The Secret of a Dask cluster: the key pair for TLS between its processes.

The DaskCluster owns it, and Kubernetes deletes it with its owner. The pods of a run may create and delete Secrets, but
read none, since Kubernetes can't limit that right to their own. So later pods read the key pair from files: their
template mounts the Secret, if it exists when the pod starts.
"""

import time
from pathlib import Path
from typing import Any

import kr8s
from kr8s._async_utils import as_sync_func  # see api.py
from kr8s.objects import APIObject, Secret

from daskjobs.cluster.kubernetes.api import POLL_SECONDS, api_call, create_object, owner_reference
from daskjobs.cluster.kubernetes.naming import secret_name
from daskjobs.cluster.removed import ObjectName
from daskjobs.cluster.security import ROLES, KeyPair
from daskjobs.cluster.tuning import variables

FOLDER = Path("/etc/daskjobs/tls")  # in pods of stages and of Dask
CERTIFICATE, KEY = FILES = FOLDER / "tls.crt", FOLDER / "tls.key"
PRELOAD = "daskjobs.cluster.openssl"
VOLUME = "tls"


def mounted_pair() -> KeyPair | None:
    """Return the key pair that this pod has as files, if any: that of a cluster which is older than the pod."""
    try:
        return KeyPair(CERTIFICATE.read_text(), KEY.read_text())
    except FileNotFoundError:
        return None


def create_secret(api: kr8s.Api, cluster: APIObject, pair: KeyPair, seconds: float) -> ObjectName:
    """Create the Secret of a DaskCluster, in place of that of an earlier cluster of the same name.

    Raises ClusterError when the earlier one is still there after ``seconds``.
    """
    name, deadline = secret_name(cluster.name), time.monotonic() + seconds
    metadata = {"name": name, "labels": dict(cluster.labels), "ownerReferences": [owner_reference(cluster)]}
    data = {CERTIFICATE.name: pair.certificate, KEY.name: pair.key}
    while True:
        secret: Any = Secret({"metadata": metadata, "stringData": data}, api=api, namespace=api.namespace)
        conflict = create_object(secret)
        if conflict is None:
            return ObjectName(secret.kind, name, str(secret.metadata["uid"]))
        if time.monotonic() > deadline:
            raise conflict
        delete_secret(api, cluster.name)
        time.sleep(POLL_SECONDS)


def delete_secret(api: kr8s.Api, cluster: str) -> ObjectName | None:
    """Delete the Secret of the cluster of this name; return it, or None if there was none."""
    name = secret_name(cluster)
    with api_call(f"delete the Secret {name}"):
        uid = as_sync_func(_delete)(api, name)
    return ObjectName("Secret", name, uid) if uid else None


async def _delete(api: kr8s.Api, name: str) -> str:
    """Delete a Secret without reading it first, as kr8s' own method does; return its uid, or an empty text."""
    try:
        async with api.call_api("DELETE", version="v1", url=f"secrets/{name}", namespace=api.namespace) as response:
            return str(response.json()["details"]["uid"])
    except kr8s.ServerError as error:
        if error.response is None or error.response.status_code != 404:
            raise
        return ""


def volume(cluster: str) -> dict[str, Any]:
    """Return the volume of a cluster's Secret for a pod."""
    return {"name": VOLUME, "secret": {"secretName": secret_name(cluster)}}


def mount() -> dict[str, Any]:
    """Return the mount of that volume for a container."""
    return {"name": VOLUME, "mountPath": str(FOLDER), "readOnly": True}


def environment(scheduler: str) -> dict[str, str]:
    """Return the variables that make Dask's processes use TLS alone, with the scheduler at this address.

    The operator would otherwise set an address with tcp://.
    """
    files = {f"{role}.{part}": str(path) for role in ROLES for part, path in (("cert", CERTIFICATE), ("key", KEY))}
    tls = {f"tls.{name}": path for name, path in {"ca-file": str(CERTIFICATE), **files}.items()}
    comm = {"default-scheme": "tls", "require-encryption": "True", **tls}
    return variables({"scheduler-address": scheduler, **{f"distributed.comm.{key}": comm[key] for key in comm}})
