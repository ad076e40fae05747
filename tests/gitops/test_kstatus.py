"""What Flux, Helm and `kustomize` make of our conditions, by kstatus' own code."""

import pytest
from tests.gitops.test_argocd import KINDS, NOW, PAUSED, blocked, resource, stamp, suspended, waiting


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("make", "status"),
    [
        pytest.param(resource, "Current", id="ready"),
        pytest.param(lambda kind: resource(kind, waiting(kind)), "InProgress", id="reconciling"),
        pytest.param(lambda kind: resource(kind, blocked(kind)), "Failed", id="stalled"),
        pytest.param(lambda kind: resource(kind, seen=None), "InProgress", id="new"),
        pytest.param(lambda kind: resource(kind, seen=1), "InProgress", id="edited"),
        pytest.param(lambda kind: resource(kind, blocked(kind), seen=1), "InProgress", id="mended"),
        pytest.param(lambda kind: resource(kind, annotations=PAUSED), "Current", id="paused"),
    ],
)
def test_kstatus_says(engine, kind, make, status):
    assert engine.ask("kstatus", object=make(kind))["status"] == status


def test_a_suspended_user_is_waited_for(engine):
    assert engine.ask("kstatus", object=resource("user", suspended(), suspend=True))["status"] == "InProgress"


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_being_deleted_is_terminating(engine, kind):
    leaving = resource(kind, blocked(kind))
    leaving["metadata"] |= {"deletionTimestamp": stamp(NOW), "finalizers": ["elasticache-iam.dev/cleanup"]}

    assert engine.ask("kstatus", object=leaving)["status"] == "Terminating"
