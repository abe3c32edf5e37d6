"""A grant's claims against the shapes that platforms really send."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.identity.claims import matches

GITHUB = {
    "sub": "repo:acme@123/shop@1296269:environment:prod",
    "repository_id": "1296269",
    "repository_owner_id": "123",
    "ref": "refs/heads/release/2.1",
    "environment": "prod",
    "job_workflow_ref": "acme/shop/.github/workflows/deploy.yml@refs/heads/main",
    "event_name": "push",
    "run_id": "77",
    "run_attempt": "1",
}
GITLAB = {
    "project_id": "22",
    "ref_protected": "true",
    "environment_protected": "false",
    "pipeline_id": "900",
    "job_id": "1",
}
KUBERNETES = {
    "aud": ["gatekeeper"],
    "sub": "system:serviceaccount:ci:deployer",
    "kubernetes.io": {
        "namespace": "ci",
        "serviceaccount": {"name": "deployer", "uid": "8f1"},
    },
}
BUILDKITE = {
    "organization_slug": "acme",
    "pipeline_slug": "shop",
    "build_branch": "main",
    "build_number": 9,
    "job_id": "0184",
}
CIRCLECI = {
    "oidc.circleci.com/project-id": "73f2",
    "oidc.circleci.com/context-ids": ["4a6e", "9b1d"],
    "oidc.circleci.com/vcs-ref": "refs/heads/main",
    "oidc.circleci.com/ssh-rerun": False,
}
GOOGLE = {"email": "ci@acme.iam.gserviceaccount.com", "email_verified": True}
ENTRA = {"tid": "f0", "roles": ["reader", "deployer"], "appid": "a1"}


@pytest.mark.parametrize(
    ("required", "claims"),
    [
        ({"repository_id": ("1296269",), "ref": ("refs/heads/main", "refs/heads/release/*")}, GITHUB),
        ({"job_workflow_ref": ("acme/shop/.github/workflows/deploy.yml@*",)}, GITHUB),
        ({"project_id": ("22",), "ref_protected": ("true",)}, GITLAB),
        ({"kubernetes.io.namespace": ("ci",)}, KUBERNETES),
        ({"kubernetes.io.serviceaccount.name": ("deploy*",)}, KUBERNETES),
        ({"aud": ("gatekeeper",)}, KUBERNETES),
        ({"organization_slug": ("acme",), "build_number": ("9",)}, BUILDKITE),
        ({"oidc.circleci.com/project-id": ("73f2",)}, CIRCLECI),
        ({"oidc.circleci.com/context-ids": ("9b1d",)}, CIRCLECI),
        ({"oidc.circleci.com/ssh-rerun": ("false",)}, CIRCLECI),
        ({"email": ("ci@acme.*",), "email_verified": ("true",)}, GOOGLE),
        ({"roles": ("deployer",)}, ENTRA),
    ],
)
def test_what_a_platform_sends_matches(required: dict[str, tuple[str, ...]], claims: dict[str, Any]) -> None:
    assert matches(required, claims) is None


@pytest.mark.parametrize(
    ("required", "claims", "reason"),
    [
        ({}, GITHUB, "no claims"),
        (
            {"repository_id": ("1296269",), "ref": ("refs/heads/main",)},
            GITHUB,
            "claim ref is 'refs/heads/rel",
        ),
        ({"repository_id": ("129626?9",)}, GITHUB, "claim repository_id"),
        ({"environment": ("Prod",)}, GITHUB, "claim environment"),
        ({"workflow": ("*",)}, GITHUB, "claim workflow is missing"),
        ({"environment_protected": ("true",)}, GITLAB, "claim environment_protected"),
        ({"kubernetes.io": ("*",)}, KUBERNETES, "claim kubernetes.io is"),
        ({"kubernetes.io.pod.name": ("*",)}, KUBERNETES, "claim kubernetes.io.pod.name is missing"),
        ({"oidc.circleci.com/context-ids": ("4a6",)}, CIRCLECI, "context-ids"),
        ({"roles": ("admin",)}, ENTRA, "claim roles"),
        ({"x": ("*",)}, {"x": None}, "claim x"),
        ({"x": ("*",)}, {"x": 1.5}, "claim x"),
        ({"x": ("*",)}, {"x": []}, "claim x"),
        ({"x": ("*",)}, {"x": [["a"]]}, "claim x"),
        ({"x": ("true",)}, {"x": 1}, "claim x"),
        ({"x": ("1",)}, {"x": True}, "claim x"),
    ],
)
def test_what_does_not_match_is_named(
    required: dict[str, tuple[str, ...]], claims: dict[str, Any], reason: str
) -> None:
    assert reason in str(matches(required, claims))


def test_a_key_is_looked_up_whole_before_its_path() -> None:
    claims = {"a.b": "whole", "a": {"b": "path"}}
    assert matches({"a.b": ("whole",)}, claims) is None
    assert matches({"a.b": ("path",)}, claims) is not None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=4), st.text(max_size=5))
def test_any_claims_give_an_answer_of_one_line(claims: dict[str, Any], name: str) -> None:
    reason = matches({name: ("no such value",)}, claims)
    assert reason is not None
    assert len(reason) < 250
