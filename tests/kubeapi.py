"""A small Kubernetes API server in this process, for tests without a cluster.

It keeps objects in memory and does with them what the real one does: uids, labels, field selectors, merge patches,
deletion on condition of a uid, finalizers, and owners that take what they own along. No controller runs: a test plays
the Dask operator by `KubeApi.on_create` and `KubeApi.finalize`.
"""

import json
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import wsproto
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection

KINDS = {
    "daskclusters": ("kubernetes.dask.org/v1", "DaskCluster"),
    "daskworkergroups": ("kubernetes.dask.org/v1", "DaskWorkerGroup"),
    "workflows": ("argoproj.io/v1alpha1", "Workflow"),
    "deployments": ("apps/v1", "Deployment"),
    "replicasets": ("apps/v1", "ReplicaSet"),
    "services": ("v1", "Service"),
    "pods": ("v1", "Pod"),
    "secrets": ("v1", "Secret"),
    "events": ("v1", "Event"),
    "networkpolicies": ("networking.k8s.io/v1", "NetworkPolicy"),
    "selfsubjectaccessreviews": ("authorization.k8s.io/v1", "SelfSubjectAccessReview"),
}
PLURALS = {kind: plural for plural, (_, kind) in KINDS.items()}

Object = dict[str, Any]


class KubeApi:
    """The server's objects, and how it behaves.

    ``refused`` has the "verb plural" pairs that get status 403; ``granted``, unless it is empty, those that don't.
    ``restricted`` says whether a pod that is root on its node is refused. ``missing`` has the kinds that are not
    served, ``logs`` the log of a pod by its name, and ``ports`` the port of this machine that stands for a port of any
    pod. ``used`` has each pair that was asked for, and ``calls`` each "verb plural/name" that changed something or
    tried to.
    ``on_create`` is called with each object that was created through the API, ``before_delete`` with the name of an
    object before it is deleted, and ``before_list`` with a plural before its objects are listed.
    """

    def __init__(self, url: str, namespace: str) -> None:
        self.url, self.namespace = url, namespace
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.refused: set[str] = set()
        self.granted: set[str] = set()
        self.used: set[str] = set()
        self.missing: set[str] = set()
        self.restricted = True
        self.logs: dict[str, str] = {}
        self.ports: dict[int, int] = {}
        self.calls: list[str] = []
        self.on_create: Callable[[Object], None] = lambda _: None
        self.before_delete: Callable[[str], None] = lambda _: None
        self.before_list: Callable[[str], None] = lambda _: None
        self.lock = threading.RLock()
        self._uids = 0

    def add(
        self,
        kind: str,
        name: str,
        labels: dict[str, str] | None = None,
        *,
        age: float = 0,
        owner: Object | None = None,
        namespace: str = "",
        metadata: Object | None = None,
        **fields: Any,
    ) -> Object:
        """Have an object, ``age`` seconds old, with further ``metadata`` and ``fields`` such as spec and status."""
        version, namespace = KINDS[PLURALS[kind]][0], namespace or self.namespace
        with self.lock:
            self._uids += 1
            created = datetime.now(UTC) - timedelta(seconds=age)
            self.objects[PLURALS[kind], namespace, name] = made = {
                "apiVersion": version,
                "kind": kind,
                **fields,
                "metadata": {
                    "uid": f"uid-{self._uids}",
                    "creationTimestamp": created.isoformat(timespec="seconds"),
                    **(metadata or {}),
                    "name": name,
                    "namespace": namespace,
                    "labels": labels or {},
                },
            }
            if kind == "Pod":
                made.setdefault("status", {"phase": "Pending"})
            if owner is not None:
                said = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"]}
                made["metadata"]["ownerReferences"] = [{**said, "uid": owner["metadata"]["uid"]}]
            return made

    def serve(self, service: str, port: int, here: int) -> None:
        """Have a service with a pod, for whose ``port`` the port ``here`` of this machine stands."""
        self.ports[port] = here
        spec = {"selector": {"app": service}, "ports": [{"port": port, "targetPort": port}]}
        conditions = [{"type": kind, "status": "True"} for kind in ("Ready", "ContainersReady")]
        self.add("Service", service, spec=spec)
        self.add("Pod", service, {"app": service}, status={"phase": "Running", "conditions": conditions})

    def names(self, kind: str) -> list[str]:
        """Return the names of the objects of a kind."""
        return [name for plural, _, name in self.objects if plural == PLURALS[kind]]

    def get(self, kind: str, name: str) -> Object:
        """Return an object."""
        return self.objects[PLURALS[kind], self.namespace, name]

    def finalize(self) -> None:
        """Do what the Dask operator does: let go of the objects that wait for it."""
        with self.lock:
            for key, existing in list(self.objects.items()):
                if "deletionTimestamp" in existing["metadata"]:
                    self.remove(key)

    def remove(self, key: tuple[str, str, str]) -> None:
        """Have an object be gone, with all that it owns."""
        with self.lock:
            uid = self.objects.pop(key)["metadata"]["uid"]
            for other, existing in list(self.objects.items()):
                owners = [owner["uid"] for owner in existing["metadata"].get("ownerReferences", [])]
                if owners == [uid] and other in self.objects:
                    self.remove(other)

    def kubeconfig(self, folder: Path) -> Path:
        """Write a kubeconfig that leads here."""
        cluster = {"name": "here", "cluster": {"server": self.url}}
        context = {"name": "here", "context": {"cluster": "here", "user": "me", "namespace": self.namespace}}
        user = {"name": "me", "user": {"token": "none"}}
        path = folder / "kubeconfig"
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [cluster],
                    "contexts": [context],
                    "users": [user],
                    "current-context": "here",
                }
            )
        )
        return path

    # What the API answers: a status and a body.

    def list_all(self, plural: str, namespace: str, query: dict[str, list[str]]) -> tuple[int, Object]:
        self.before_list(plural)
        labels, fields = (_pairs(query.get(name, [""])[0]) for name in ("labelSelector", "fieldSelector"))
        items = [
            existing
            for (kind, where, _), existing in self.objects.items()
            if kind == plural
            and namespace in ("", where)
            and labels.items() <= existing["metadata"]["labels"].items()
            and all(_field(existing, path) == value for path, value in fields.items())
        ]
        return 200, {"kind": "List", "metadata": {}, "items": items}

    def create(self, plural: str, namespace: str, body: Object) -> tuple[int, Object]:
        kind = KINDS[plural][1]
        if kind == "SelfSubjectAccessReview":
            asked = body["spec"]["resourceAttributes"]
            return 201, {**body, "status": {"allowed": f"{asked['verb']} {asked['resource']}" not in self.refused}}
        name = body["metadata"]["name"]
        if (plural, namespace, name) in self.objects:
            return 409, {"message": f'{plural} "{name}" already exists'}
        fields = {key: value for key, value in body.items() if key not in ("apiVersion", "kind", "metadata")}
        metadata = body["metadata"]
        made = self.add(kind, name, metadata.get("labels"), namespace=namespace, metadata=metadata, **fields)
        self.on_create(made)
        return 201, made

    def patch(self, key: tuple[str, str, str], part: str, change: Object) -> tuple[int, Object]:
        existing = self.objects[key]
        _merge(existing, {part: change[part]} if part else change)
        return 200, existing

    def delete(self, key: tuple[str, str, str], body: Object) -> tuple[int, Object]:
        self.before_delete(key[2])
        existing = self.objects[key]
        wanted = body.get("preconditions", {}).get("uid", existing["metadata"]["uid"])
        if wanted != existing["metadata"]["uid"]:
            return 409, {"message": "the UID in the precondition does not match the UID in record"}
        if existing["metadata"].get("finalizers"):
            existing["metadata"]["deletionTimestamp"] = datetime.now(UTC).isoformat(timespec="seconds")
        else:
            self.remove(key)
        details = {"name": key[2], "kind": key[0], "uid": existing["metadata"]["uid"]}
        return 200, {"kind": "Status", "status": "Success", "details": details}

    def discover(self, path: str) -> tuple[int, Object]:
        """Say which kinds are served."""
        served = {plural: said for plural, said in KINDS.items() if said[1] not in self.missing}
        if path.startswith("/version"):
            return 200, {"major": "1", "minor": "34", "gitVersion": "v1.34.0"}
        if path.rstrip("/") == "/api":
            return 200, {"versions": ["v1"]}
        if path.rstrip("/") == "/apis":
            versions = sorted({version for version, _ in served.values() if "/" in version})
            groups = [{"name": v.split("/")[0], "versions": [{"groupVersion": v}]} for v in versions]
            return 200, {"groups": groups}
        version = path.removeprefix("/apis/").removeprefix("/api/")
        names = [(plural, kind) for plural, (of, kind) in served.items() if of == version]
        resources = [{"name": p, "kind": k, "singularName": k.lower(), "namespaced": True} for p, k in names]
        return 200, {"resources": resources}


class _Handler(BaseHTTPRequestHandler):
    api: KubeApi
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = urlsplit(self.path)
        if path.path.endswith("/portforward"):
            self._forward(int(parse_qs(path.query)["ports"][0]))
        else:
            self._do("get")

    def _forward(self, port: int) -> None:
        """Carry bytes between the client, in messages on channel 0, and what stands for a pod's port."""
        self.close_connection = True
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.api.ports[port])) as pod:
            upgrade = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
            headers = [(name.encode(), value.encode()) for name, value in self.headers.items()]
            upgrade.initiate_upgrade_connection(headers, self.path)
            self.wfile.write(upgrade.send(AcceptConnection()))
            for channel in (0, 1):
                self.wfile.write(upgrade.send(BytesMessage(bytes([channel]) + port.to_bytes(2, "little"))))
            while True:
                readable, _, _ = select.select([pod, self.connection], [], [], 30)
                if pod in readable:
                    data = pod.recv(1 << 15)
                    if not data:
                        self.wfile.write(upgrade.send(CloseConnection(1000)))
                        return
                    self.wfile.write(upgrade.send(BytesMessage(b"\0" + data)))
                if self.connection in readable:
                    upgrade.receive_data(self.connection.recv(1 << 16) or None)
                    for event in upgrade.events():
                        if isinstance(event, CloseConnection):
                            return
                        if isinstance(event, BytesMessage):
                            pod.sendall(bytes(event.data).removeprefix(b"\0"))

    def do_POST(self) -> None:
        self._do("create")

    def do_PATCH(self) -> None:
        self._do("patch")

    def do_DELETE(self) -> None:
        self._do("delete")

    def _do(self, verb: str) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        with self.api.lock:
            status, answer = self._answer(verb, urlsplit(self.path).path, body)
        text = isinstance(answer, str)
        data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if text else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _answer(self, verb: str, path: str, body: Object) -> tuple[int, Object | str]:
        parts = path.strip("/").split("/")
        at = next((number for number, part in enumerate(parts) if part in KINDS), None)
        if at is None:
            return self.api.discover(path)
        plural, rest = parts[at], parts[at + 1 :]
        namespace = parts[at - 1] if parts[at - 2] == "namespaces" else ""
        verb = "list" if verb == "get" and not rest else verb
        right = f"{verb} {'/'.join([plural, *rest[1:]])}"
        self.api.used.add(right)
        if verb not in ("get", "list"):
            self.api.calls.append(f"{verb} {'/'.join([plural, *rest])}")
        if KINDS[plural][1] in self.api.missing:
            return 404, {"message": "the server could not find the requested resource"}
        if right in self.api.refused or (self.api.granted and right not in self.api.granted):
            return 403, {"message": f'{plural} is forbidden: User "me" cannot {right}'}
        if verb == "list":
            return self.api.list_all(plural, namespace, parse_qs(urlsplit(self.path).query))
        if "dryRun" in parse_qs(urlsplit(self.path).query):
            root = "hostPID" in body["spec"] and self.api.restricted
            return (403, {"message": "violates PodSecurity"}) if root else (201, body)
        if verb == "create":
            return self.api.create(plural, namespace, body)
        key = plural, namespace, rest[0]
        if key not in self.api.objects:
            return 404, {"message": f'{plural} "{rest[0]}" not found'}
        if rest[1:] == ["log"]:
            return 200, self.api.logs.get(rest[0], "")
        if verb == "get":
            return 200, self.api.objects[key]
        return self.api.patch(key, rest[1] if rest[1:] else "", body) if verb == "patch" else self.api.delete(key, body)

    def log_message(self, *_: Any) -> None:
        pass


def _pairs(selector: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in selector.split(",") if part)


def _field(existing: Object, path: str) -> Any:
    for part in path.split("."):
        existing = existing.get(part, {})
    return existing


def _merge(existing: Object, change: Object) -> None:
    for name, value in change.items():
        if value is None:
            existing.pop(name, None)
        elif isinstance(value, dict) and isinstance(existing.get(name), dict):
            _merge(existing[name], value)
        else:
            existing[name] = value


@contextmanager
def kube_api() -> Iterator[KubeApi]:
    """Serve on loopback while the block lasts, with a namespace of a name of its own: kr8s keeps clients by that."""
    handler = type("Handler", (_Handler,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        port = server.server_port
        handler.api = api = KubeApi(f"http://127.0.0.1:{port}", f"test-{port}")  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True, kwargs={"poll_interval": 0.02}).start()
        try:
            yield api
        finally:
            server.shutdown()
