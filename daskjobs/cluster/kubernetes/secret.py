"""The Secret of a Dask cluster: the key pair with which its processes speak TLS.

It belongs to the DaskCluster, and goes with it. The pods of a run may create and delete Secrets, and read none, since
Kubernetes can't limit that to their own. So a pod that comes after the one that created the cluster has the key pair
from files: its template mounts the Secret, if there is one when the pod starts.
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

FOLDER = Path("/etc/daskjobs/tls")  # in the pods of stages and of Dask alike
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
    """Create the Secret of a DaskCluster, in place of one of an earlier cluster of its name.

    Raises ClusterError when the earlier one is still there after so many seconds.
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
    """Delete the Secret of the cluster of this name; return it, or None where there is none."""
    name = secret_name(cluster)
    with api_call(f"delete the Secret {name}"):
        uid = as_sync_func(_delete)(api, name)
    return ObjectName("Secret", name, uid) if uid else None


async def _delete(api: kr8s.Api, name: str) -> str:
    """Delete a Secret without reading it, which kr8s' own method does; return its uid, or an empty text."""
    try:
        async with api.call_api("DELETE", version="v1", url=f"secrets/{name}", namespace=api.namespace) as response:
            return str(response.json()["details"]["uid"])
    except kr8s.ServerError as error:
        if error.response is None or error.response.status_code != 404:
            raise
        return ""


def volume(cluster: str) -> dict[str, Any]:
    """Return the volume by which a pod has the Secret of a cluster."""
    return {"name": VOLUME, "secret": {"secretName": secret_name(cluster)}}


def mount() -> dict[str, Any]:
    """Return where a container finds the files of that volume."""
    return {"name": VOLUME, "mountPath": str(FOLDER), "readOnly": True}


def environment(scheduler: str) -> dict[str, str]:
    """Return the variables with which Dask's processes speak TLS and nothing else, with a scheduler of this address.

    The operator sets the address to one of tcp:// unless there is one.
    """
    files = {f"{role}.{part}": str(path) for role in ROLES for part, path in (("cert", CERTIFICATE), ("key", KEY))}
    tls = {f"tls.{name}": path for name, path in {"ca-file": str(CERTIFICATE), **files}.items()}
    comm = {"default-scheme": "tls", "require-encryption": "True", **tls}
    return variables({"scheduler-address": scheduler, **{f"distributed.comm.{key}": comm[key] for key in comm}})
