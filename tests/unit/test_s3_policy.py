"""docs/storage.md against a real S3 server that enforces policies: what it allows is enough and not too much."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import GATEWAY, Command, s3_server
from manifests import ROOT, documents, named

POLICY, LIFECYCLE = map(
    json.loads, re.findall(r"^```json\n(.*?)^```$", (ROOT / "docs/storage.md").read_text(), re.M | re.S)
)
ACTIONS = [action for statement in POLICY["Statement"] for action in statement["Action"]]
RUN = "s3://example-orders/daskjobs/1"

Allowed = Callable[[str], tuple[Any, dict[str, str]]]


@pytest.fixture
def allowed(tmp_path: Path) -> Iterator[Allowed]:
    """Let a user do what the policy says, without one of the actions; gives the owner's client, and the user's keys."""
    (tmp_path / "s3/example-orders").mkdir(parents=True)
    (tmp_path / "users").mkdir()
    with s3_server(tmp_path / "s3", "--iam-dir", str(tmp_path / "users")) as url:
        botocore = pytest.importorskip("botocore.session")
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "testtest", "region_name": "us-east-1"}
        owner = botocore.get_session().create_client("s3", endpoint_url=url, **keys)
        admin = [str(GATEWAY), "admin", "-a", "test", "-s", "testtest", "--er", url]
        user = ["create-user", "-a", "run", "-s", "runrunrun", "-r", "user"]
        subprocess.run([*admin, *user], check=True, timeout=20)

        def allow(without: str) -> tuple[Any, dict[str, str]]:
            statements = [
                {
                    **statement,
                    "Principal": {"AWS": ["run"]},
                    "Action": [action for action in statement["Action"] if action != without],
                }
                for statement in POLICY["Statement"]
            ]
            policy = {"Version": POLICY["Version"], "Statement": statements}
            owner.put_bucket_policy(Bucket="example-orders", Policy=json.dumps(policy))
            return owner, {
                "AWS_ACCESS_KEY_ID": "run",
                "AWS_SECRET_ACCESS_KEY": "runrunrun",
                "AWS_ENDPOINT_URL": url,
                "AWS_DEFAULT_REGION": "us-east-1",
            }

        yield allow


@pytest.mark.slow
@pytest.mark.parametrize("without", ["", *ACTIONS])
def test_each_action_is_needed_and_together_they_are_enough(allowed: Allowed, daskjobs: Command, without: str) -> None:
    """For a run, and one that does stages again and cleans up after a process that was killed during an upload."""
    owner, keys = allowed(without)
    run = ["run", "--rows", "200", "--run", RUN, "--dashboard", "127.0.0.1:0"]
    first = daskjobs(*run, **keys)
    owner.create_multipart_upload(Bucket="example-orders", Key="daskjobs/1/orders/orders.csv")
    again = daskjobs(*run, "--partitions", "2", **keys)
    left = owner.list_multipart_uploads(Bucket="example-orders").get("Uploads", [])
    assert "Traceback" not in first.stderr + again.stderr
    if not without:
        assert (first.returncode, again.returncode, left) == (0, 0, []), first.stderr + again.stderr
        assert "WARNING" not in first.stderr + again.stderr
    elif without.endswith("MultipartUploads") or without.endswith("MultipartUpload"):
        assert (first.returncode, again.returncode, len(left)) == (0, 0, 1), first.stderr + again.stderr
        assert "could not abort the unfinished uploads" in again.stderr
    else:
        assert again.returncode == 11
        assert "ask for the right to it" in again.stderr


def test_files_beside_the_folder_of_the_runs_are_out_of_reach(allowed: Allowed) -> None:
    owner, keys = allowed("")
    owner.put_object(Bucket="example-orders", Key="daskjobs-2/secret.csv", Body=b"theirs")
    errors = pytest.importorskip("botocore.exceptions")
    run = (
        pytest.importorskip("botocore.session")
        .get_session()
        .create_client(
            "s3",
            endpoint_url=keys["AWS_ENDPOINT_URL"],
            aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
            region_name=keys["AWS_DEFAULT_REGION"],
        )
    )
    run.put_object(Bucket="example-orders", Key="daskjobs/1/x", Body=b"ours")
    theirs = {"Bucket": "example-orders", "Key": "daskjobs-2/secret.csv"}
    for attempt in (run.get_object, run.delete_object, run.put_object, run.create_multipart_upload):
        with pytest.raises(errors.ClientError, match="AccessDenied"):
            attempt(**theirs)
    assert owner.get_object(**theirs)["Body"].read() == b"theirs"


def test_policy_and_lifecycle_are_those_of_the_production_overlay() -> None:
    maps = named(documents("k8s/overlays/production"), "ConfigMap")
    storage = maps["daskjobs"]["data"]["DASKJOBS_STORAGE"]
    bucket, _, folder = storage.removeprefix("s3://").partition("/")
    resources = {statement["Resource"] for statement in POLICY["Statement"]}
    assert resources == {f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/{folder}/*"}
    assert {rule["Filter"]["Prefix"] for rule in LIFECYCLE["Rules"]} == {f"{folder}/"}
    artifacts = yaml.safe_load(maps["daskjobs-artifacts"]["data"]["s3"])["s3"]
    assert artifacts["region"]  # or Argo asks S3 for it, which is one action more
    assert artifacts["keyFormat"].startswith(f"{folder}/")


def test_lifecycle_has_no_field_that_s3_does_not_know() -> None:
    session = pytest.importorskip("botocore.session")
    validate = pytest.importorskip("botocore.validate")
    shape = session.get_session().get_service_model("s3").operation_model("PutBucketLifecycleConfiguration").input_shape
    given = {"Bucket": "example-orders", "LifecycleConfiguration": LIFECYCLE}
    assert not validate.ParamValidator().validate(given, shape).has_errors()
