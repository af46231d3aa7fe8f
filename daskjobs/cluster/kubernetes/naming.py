"""The names, labels and annotations by which the objects of a Dask cluster are found."""

import hashlib

from daskjobs.cluster.kubernetes import TLS, KubernetesSettings
from daskjobs.cluster.settings import ClusterSettings

DASK_VERSION = "kubernetes.dask.org/v1"
PART_OF = {"app.kubernetes.io/part-of": "daskjobs"}
RUN_LABEL, CLUSTER_LABEL = "daskjobs/run", "dask.org/cluster-name"
COMPONENT_LABEL = "dask.org/component"  # scheduler or worker
HASH = "daskjobs/spec-hash"
CERTIFICATE = "daskjobs/certificate"  # the fingerprint of the certificate of the cluster's processes
WORKFLOW = "daskjobs/workflow"  # the workflow's name, for the janitor, when the ownerReference is lost
NODE = "daskjobs/node"  # the Argo node's name, by which people choose one of a workflow's steps
DEADLINE = "daskjobs/deadline"  # past it, the janitor removes the cluster
QUEUE = "kueue.x-k8s.io/queue-name"  # Kueue's label; the operator copies a DaskCluster's labels to its pods
KEPT = "daskjobs/kept"  # the work failed, and the cluster is kept for people to look at until its idle timeout
ON_EXIT = ".onExit"  # the Argo node of an exit hook has its node's name and this suffix
SCHEDULER_PORT, DASHBOARD_PORT = 8786, 8787


def run_id(settings: ClusterSettings) -> str:
    """Return the id in the cluster's name and labels: its workflow's uid, or else its key."""
    return settings.workflow_uid or settings.key


def node_key(node: str) -> str:
    """Return the key of an Argo node's cluster, which all attempts of the node and its exit hook share.

    All attempts of a node have one name, and each item of a loop is a node of its own.

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
