"""The names, labels and annotations by which the objects of a Dask cluster are found."""

import hashlib

from daskjobs.cluster.kubernetes import TLS, KubernetesSettings
from daskjobs.cluster.settings import ClusterSettings

DASK_VERSION = "kubernetes.dask.org/v1"
PART_OF = {"app.kubernetes.io/part-of": "daskjobs"}
RUN_LABEL, CLUSTER_LABEL = "daskjobs/run", "dask.org/cluster-name"
COMPONENT_LABEL = "dask.org/component"  # scheduler or worker
HASH = "daskjobs/spec-hash"
CERTIFICATE = "daskjobs/certificate"  # the fingerprint of the certificate that the cluster's processes have
WORKFLOW = "daskjobs/workflow"  # the workflow's name: the janitor finds it here where the ownerReference is lost
NODE = "daskjobs/node"  # the Argo node's name, by which people choose among the steps of a workflow
DEADLINE = "daskjobs/deadline"  # past it, the janitor removes the cluster
QUEUE = "kueue.x-k8s.io/queue-name"  # Kueue's label; the operator copies a DaskCluster's labels to its pods
KEPT = "daskjobs/kept"  # says that the work failed, and that the cluster stays for a look until it has been idle
ON_EXIT = ".onExit"  # ends the name of the Argo node of an exit hook, after the name of the node that it is the hook of
SCHEDULER_PORT, DASHBOARD_PORT = 8786, 8787


def run_id(settings: ClusterSettings) -> str:
    """Return the id that the cluster's name and labels carry: its workflow's uid, or else its key."""
    return settings.workflow_uid or settings.key


def node_key(node: str) -> str:
    """Return the key of the cluster of an Argo node: the same for each of its attempts, and for its exit hook.

    A node has one name for all attempts, and each item of a loop is a node of its own.

    >>> node_key("flow-x7.features") == node_key("flow-x7.features.onExit") != node_key("flow-x7.features(0:a)")
    True
    """
    return hashlib.sha256(node.removesuffix(ON_EXIT).encode()).hexdigest()[:12]


def cluster_name(settings: ClusterSettings) -> str:
    """Return the DaskCluster's name, at most 53 characters of [a-z0-9-]."""
    return "-".join(filter(None, ("dv", settings.workflow_uid, settings.key)))


def secret_name(cluster: str) -> str:
    """Return the name of the Secret that has a cluster's key pair; the templates in flows/ mount it by this name."""
    return f"{cluster}-tls"


def selector(settings: KubernetesSettings) -> dict[str, str]:
    """Return the labels that every object of this Dask cluster has, and no other object."""
    return {RUN_LABEL: run_id(settings), CLUSTER_LABEL: cluster_name(settings)}


def scheduler_address(settings: KubernetesSettings) -> str:
    """Return the address at which the scheduler answers inside Kubernetes."""
    return f"{'tls' if settings.security == TLS else 'tcp'}://{scheduler_host(settings)}:{SCHEDULER_PORT}"


def scheduler_host(settings: KubernetesSettings) -> str:
    """Return the host name at which the scheduler answers inside Kubernetes."""
    return f"{cluster_name(settings)}-scheduler.{settings.namespace}.svc"
