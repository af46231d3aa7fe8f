"""TLS between a run's Dask processes: a self-signed key pair of the run's own, in a Secret that dies with it."""

import base64
from typing import Any

import kr8s
from distributed.security import Security
from kr8s.objects import Secret

from daskjobs import kubernetes
from daskjobs.errors import ClusterError
from daskjobs.resource import CERT, KEY, cluster_name, metadata
from daskjobs.settings import Settings


def security(api: kr8s.Api, settings: Settings) -> Security:
    """Return the security of the run's Dask processes, made once for a run and found again by a retry."""
    made = Security.temporary()
    pair = {CERT: str(made.tls_client_cert), KEY: str(made.tls_client_key)}
    resource = {"metadata": metadata(settings), "type": "kubernetes.io/tls", "stringData": pair}
    try:
        with kubernetes.explained("create the run's Secret"):
            Secret(resource, api=api, namespace=api.namespace).create()
    except ClusterError as error:
        if not kubernetes.is_conflict(error):
            raise
        found: Any = next(iter(kubernetes.find(api, settings, (Secret,))), None)
        if found is None:
            raise ClusterError(f"the Secret {cluster_name(settings)} is there and can't be found: try again") from error
        pair = {name: base64.b64decode(found.raw["data"][name]).decode() for name in (CERT, KEY)}
    cert, key = pair[CERT], pair[KEY]
    return Security(tls_ca_file=cert, tls_client_cert=cert, tls_client_key=key, require_encryption=True)
