"""Secrets of a resolved scenario are not written down; everything else stays as it is."""

from __future__ import annotations

import pytest
import yaml

from runner.results.manifest import HIDDEN
from runner.results.secrets import without_secrets


@pytest.mark.parametrize(
    "name", ["Authorization", "x-api-key", "X-Auth-Token", "cookie", "Proxy-Authorization", "key", "X-Auth"]
)
def test_secret_headers_are_hidden(name: str) -> None:
    text = yaml.safe_dump({"workload": {"headers": {name: "hunter2", "X-Trace": "t"}}})
    assert yaml.safe_load(without_secrets(text)) == {"workload": {"headers": {name: HIDDEN, "X-Trace": "t"}}}


def test_variables_and_axes_that_hold_secrets_are_hidden() -> None:
    document = {
        "vars": {"api_token": {"type": "string", "default": "hunter2"}, "batch": {"type": "int", "default": 3}},
        "matrix": {"axes": {"workload.headers.Authorization": ["hunter2", "hunter3"]}},
    }
    hidden = without_secrets(yaml.safe_dump(document))
    assert "hunter" not in hidden
    assert yaml.safe_load(hidden)["vars"]["batch"] == {"type": "int", "default": 3}


def test_passwords_in_urls_are_hidden() -> None:
    url = "https://me:hunter2@h/metrics?x=1&token=hunter3"
    hidden = without_secrets(yaml.safe_dump({"targets": {"far": {"launch": {"metrics": url, "url": "h:8001"}}}}))
    launch = yaml.safe_load(hidden)["targets"]["far"]["launch"]
    assert launch == {"metrics": f"https://{HIDDEN}@h/metrics?x=1&token={HIDDEN}", "url": "h:8001"}


def test_nothing_to_hide_changes_nothing() -> None:
    text = "workload: {headers: {X-Trace: t}, model: tokenizer}  # untouched\n"
    assert without_secrets(text) == text


def test_secret_environment_variables_of_containers_are_hidden() -> None:
    launch = {"kind": "docker", "env": {"HF_TOKEN": "hunter2", "OMP_NUM_THREADS": "4"}}
    document = {"targets": {"gpu": {"launch": launch}}}
    env = yaml.safe_load(without_secrets(yaml.safe_dump(document)))["targets"]["gpu"]["launch"]["env"]
    assert env == {"HF_TOKEN": HIDDEN, "OMP_NUM_THREADS": "4"}
