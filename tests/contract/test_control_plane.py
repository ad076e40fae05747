import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from tests.waiting import wait_for

from elasticache_iam_sandbox.cluster.binaries import find_binaries
from elasticache_iam_sandbox.cluster.control_plane import ControlPlane
from elasticache_iam_sandbox.cluster.errors import ApiError, ClusterError
from elasticache_iam_sandbox.processes import start_time

pytestmark = pytest.mark.cluster

AUDIENCE = "elasticache-iam.dev/sign"

KILLED_RUN = """
import sys, time
from pathlib import Path
from elasticache_iam_sandbox.cluster.binaries import find_binaries
from elasticache_iam_sandbox.cluster.control_plane import ControlPlane

cluster = ControlPlane(Path(sys.argv[1]), binaries=find_binaries(print))
cluster.start()
print(*cluster.pids, flush=True)
time.sleep(120)
"""


def config_map(name, **metadata):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}}


def create_token(cluster, namespace):
    cluster.kubectl("create", "serviceaccount", "checkout", "-n", namespace)
    return cluster.kubectl("create", "token", "checkout", "-n", namespace, "--audience", AUDIENCE).stdout.strip()


def exists(cluster, path):
    try:
        cluster.request("GET", path)
    except ApiError as error:
        if error.status == 404:
            return False
        raise
    return True


def test_a_requested_token_verifies_against_the_published_keys(control_plane, namespace):
    token = create_token(control_plane, namespace)

    claims = jwt.decode(token, KeySet.import_key_set(control_plane.jwks()), algorithms=["RS256"]).claims

    assert claims["iss"] == control_plane.issuer
    assert claims["aud"] == [AUDIENCE]
    assert claims["sub"] == f"system:serviceaccount:{namespace}:checkout"


def test_a_token_with_our_audience_opens_no_api(control_plane, namespace, tmp_path):
    token = create_token(control_plane, namespace)
    kubeconfig = control_plane.write_kubeconfig(tmp_path / "kubeconfig", token=token)

    answer = control_plane.kubectl("--kubeconfig", str(kubeconfig), "auth", "whoami", check=False)

    assert answer.returncode != 0
    assert "Unauthorized" in answer.stderr


def test_a_kubeconfig_is_for_the_user_and_groups_it_was_written_for(control_plane, tmp_path):
    kubeconfig = control_plane.write_kubeconfig(tmp_path / "kubeconfig", user="jane", groups=["shop", "platform"])

    answer = control_plane.kubectl("--kubeconfig", str(kubeconfig), "auth", "whoami", "-o", "json")

    who = json.loads(answer.stdout)["status"]["userInfo"]
    assert who["username"] == "jane"
    assert set(who["groups"]) == {"shop", "platform", "system:authenticated"}


def test_a_kubectl_that_fails_raises_what_it_said(control_plane):
    with pytest.raises(ClusterError, match=r'kubectl get failed: .*configmaps "nowhere" not found'):
        control_plane.kubectl("get", "configmap", "nowhere")


def test_kubeconfigs_are_for_their_owner_s_eyes_only(control_plane):
    assert control_plane.kubeconfig.stat().st_mode & 0o777 == 0o600


def test_an_object_goes_with_its_owner(control_plane, namespace):
    config_maps = f"/api/v1/namespaces/{namespace}/configmaps"
    owner = control_plane.request("POST", config_maps, config_map("owner"))
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    control_plane.request("POST", config_maps, config_map("owned", ownerReferences=[reference]))

    control_plane.request("DELETE", f"{config_maps}/owner")

    wait_for(lambda: not exists(control_plane, f"{config_maps}/owned"))


def test_a_deleted_namespace_goes_away_with_what_is_in_it(control_plane):
    path = "/api/v1/namespaces/short-lived"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "short-lived"}}
    control_plane.request("POST", "/api/v1/namespaces", body)
    control_plane.request("POST", f"{path}/configmaps", config_map("inside"))

    control_plane.request("DELETE", path)

    wait_for(lambda: not exists(control_plane, path), timeout_s=20)


def test_a_namespace_gets_a_service_account_and_the_ca(control_plane, namespace):
    path = f"/api/v1/namespaces/{namespace}"

    wait_for(lambda: exists(control_plane, f"{path}/serviceaccounts/default"))
    wait_for(lambda: exists(control_plane, f"{path}/configmaps/kube-root-ca.crt"))
    published = control_plane.request("GET", f"{path}/configmaps/kube-root-ca.crt")
    assert published["data"]["ca.crt"] == control_plane.ca_file.read_text()


def test_a_refused_request_tells_the_api_server_s_reason(control_plane):
    with pytest.raises(ApiError, match=r"422 .*Invalid value"):
        control_plane.request("POST", "/api/v1/namespaces/default/configmaps", config_map("Not A Name"))


def test_the_audit_log_has_each_write_once(control_plane, namespace):
    for number in range(3):
        control_plane.request("POST", f"/api/v1/namespaces/{namespace}/configmaps", config_map(f"number-{number}"))

    written = [
        event["objectRef"]["name"]
        for event in control_plane.audit_events()
        if event["verb"] == "create"
        and event["user"].get("username") == "sandbox-admin"  # a failed log-in has none
        and event.get("objectRef", {}).get("namespace") == namespace
        and event["objectRef"]["resource"] == "configmaps"
    ]
    assert written == ["number-0", "number-1", "number-2"]


def test_an_outage_of_the_api_server_loses_nothing(control_plane, namespace):
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    control_plane.request("POST", path, config_map("kept"))

    control_plane.api_server.stop(timeout_s=0.0)
    with pytest.raises(OSError, match="refused"):
        control_plane.request("GET", path)
    control_plane.api_server.start()
    control_plane.wait_until_ready()

    assert exists(control_plane, f"{path}/kept")
    assert len(control_plane.pids) == 3


def test_two_control_planes_run_side_by_side(control_plane, tmp_path):
    with ControlPlane(tmp_path, binaries=find_binaries(print), issuer="https://oidc.example.com/id/2") as other:
        other.request("POST", "/api/v1/namespaces/default/configmaps", config_map("only-there"))
        token = other.kubectl("create", "token", "default").stdout.strip()

        assert not exists(control_plane, "/api/v1/namespaces/default/configmaps/only-there")
        claims = jwt.decode(token, KeySet.import_key_set(other.jwks()), algorithms=["RS256"]).claims
        assert claims["iss"] == "https://oidc.example.com/id/2"
        pids = other.pids

    assert [pid for pid in pids if start_time(pid) is not None] == []


def test_a_run_killed_by_sigkill_leaves_no_process_and_a_folder_that_can_be_used_again(tmp_path):
    command = [sys.executable, "-c", KILLED_RUN, tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:  # noqa: S603  # our own program
        pids = [int(pid) for pid in run.stdout.readline().split()]
        run.kill()

    assert len(pids) == 3
    wait_for(lambda: all(start_time(pid) is None for pid in pids))
    with ControlPlane(tmp_path, binaries=find_binaries(print)) as again:
        assert again.jwks()["keys"]


def test_a_folder_in_use_is_refused(control_plane):
    with pytest.raises(ClusterError, match="another run uses"):
        ControlPlane(control_plane.state_dir, binaries=find_binaries(print)).start()


def test_a_program_that_fails_is_named_with_its_last_words(tmp_path):
    broken = tmp_path / "etcd"
    broken.write_text("#!/bin/sh\necho the disk is full\nexit 7\n")
    broken.chmod(0o755)
    cluster = ControlPlane(tmp_path / "state", binaries=replace(find_binaries(print), etcd=broken))

    with pytest.raises(ClusterError, match=r"etcd ended with code 7; its log ends with:\nthe disk is full"):
        cluster.start()

    assert cluster.pids == ()
    assert not Path(cluster.kubeconfig).exists()


def test_a_port_that_somebody_else_took_is_replaced(tmp_path, monkeypatch, control_plane):
    taken = int(control_plane.url.rpartition(":")[2])
    ports = iter([taken])
    module = "elasticache_iam_sandbox.cluster.control_plane"
    free_port = sys.modules[module].free_port
    monkeypatch.setattr(f"{module}.free_port", lambda: next(ports, None) or free_port())

    with ControlPlane(tmp_path, binaries=find_binaries(print)) as other:
        assert other.url != control_plane.url
        assert os.getpgid(other.api_server.pid) == other.api_server.pid
