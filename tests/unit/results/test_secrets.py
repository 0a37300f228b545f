"""Secrets of a resolved scenario are not written down; everything else stays as it is."""

from __future__ import annotations

import re

import pytest
import yaml

from runner.results.secrets import redact, without_secrets
from runner.scenario.secrets import HIDDEN, masked, redact_predicate


@pytest.mark.parametrize(
    "name",
    [
        *("Authorization", "x-api-key", "X-Auth-Token", "cookie", "Proxy-Authorization", "key", "X-Auth"),
        *("X-Passphrase", "X-Access-Key-Id", "X-Amz-Signature"),
    ],
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


def test_a_secret_value_of_a_point_becomes_a_digest_of_it() -> None:
    at = "workload.headers.Authorization"
    assert masked(at, "hunter2") != masked(at, "hunter3")
    assert masked(at, "hunter2") == masked("workload.headers", {"Authorization": "hunter2"})["Authorization"]
    assert re.fullmatch(r"\*\*\*[0-9a-f]{8}", masked(at, "hunter2"))


@pytest.mark.parametrize(
    ("address", "value"),
    [
        ("workload.headers.X.Auth.Token", "hunter2"),
        ("targets.gpu.launch.env.HF_TOKEN", "hunter2"),
        ("targets.gpu.launch.env", {"HF_TOKEN": "hunter2", "LANG": "C"}),
        ("vars.api_key", "hunter2"),
        ("setup.weights.url", "https://me:hunter2@h/m"),
        ("setup.weights.mirrors", ["https://h/m?token=hunter2"]),
        ("targets.far.launch", {"kind": "remote", "metrics": "https://h/metrics?token=hunter2"}),
    ],
)
def test_secrets_of_points_are_masked_wherever_they_stand(address: str, value: object) -> None:
    assert "hunter" not in str(masked(address, value))


@pytest.mark.parametrize(
    ("address", "value"),
    [
        ("workload.parameters.max_tokens", 512),
        ("vars.max_tokens", 512),
        ("workload.model", "tokenizer"),
        ("workload.headers.X-Trace", "t"),
        ("vars.batch", None),
    ],
)
def test_what_is_no_secret_stays_as_it_is(address: str, value: object) -> None:
    assert masked(address, value) == value


@pytest.mark.parametrize(
    ("predicate", "hidden"),
    [
        ("workload.headers.Cookie == 'hunter2'", f"workload.headers.Cookie == '{HIDDEN}'"),
        ('load.concurrency > 4 and vars.token != "hunter2"', f"load.concurrency > 4 and vars.token != '{HIDDEN}'"),
        ("workload.parameters.max_tokens == 512", None),
        ("workload.model == 'tokenizer'", None),
    ],
)
def test_the_secret_that_a_predicate_compares_with_is_hidden(predicate: str, hidden: str | None) -> None:
    assert redact_predicate(predicate) == (hidden or predicate)


def test_passwords_in_urls_are_hidden() -> None:
    url = "https://me:hunter2@h/metrics?x=1&token=hunter3"
    hidden = without_secrets(yaml.safe_dump({"targets": {"far": {"launch": {"metrics": url, "url": "h:8001"}}}}))
    launch = yaml.safe_load(hidden)["targets"]["far"]["launch"]
    assert launch == {"metrics": f"https://{HIDDEN}@h/metrics?x=1&token={HIDDEN}", "url": "h:8001"}


def test_passwords_in_the_addresses_of_mirrors_are_hidden() -> None:
    step = {"kind": "fetch", "url": "https://h/m", "mirrors": ["https://h/m", "https://me:hunter2@h/m"]}
    hidden = without_secrets(yaml.safe_dump({"setup": {"weights": step}}))
    assert yaml.safe_load(hidden)["setup"]["weights"]["mirrors"] == ["https://h/m", f"https://{HIDDEN}@h/m"]


def test_nothing_to_hide_changes_nothing() -> None:
    text = "workload: {headers: {X-Trace: t}, model: tokenizer}  # untouched\n"
    assert without_secrets(text) == text


def test_secret_environment_variables_of_containers_are_hidden() -> None:
    launch = {"kind": "docker", "env": {"HF_TOKEN": "hunter2", "OMP_NUM_THREADS": "4"}}
    document = {"targets": {"gpu": {"launch": launch}}}
    env = yaml.safe_load(without_secrets(yaml.safe_dump(document)))["targets"]["gpu"]["launch"]["env"]
    assert env == {"HF_TOKEN": HIDDEN, "OMP_NUM_THREADS": "4"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--set", "server.flags.http-port=8000"], None),
        (["--max-batch", "16", "efficientnet.yaml"], None),
        (["--api-key", "hunter2", "x"], ["--api-key", HIDDEN, "x"]),
        (["--password=hunter2"], [f"--password={HIDDEN}"]),
        (["--set", "env.HF_TOKEN=hf_abc"], ["--set", f"env.HF_TOKEN={HIDDEN}"]),
        (["-H", "Authorization: Bearer abc def"], ["-H", f"Authorization: {HIDDEN}"]),
        (["https://me:pw@example.org/m.onnx"], [f"https://{HIDDEN}@example.org/m.onnx"]),
        (
            ["--set", "setup.m.url=https://example.org/m?X-Amz-Signature=abc&part=1"],
            ["--set", f"setup.m.url=https://example.org/m?X-Amz-Signature={HIDDEN}&part=1"],
        ),
        (["--set", "workload.headers.Cookie=hunter2"], ["--set", f"workload.headers.Cookie={HIDDEN}"]),
        (["--token", "--verbose"], None),
    ],
)
def test_secrets_of_a_command_line_are_hidden(words: list[str], expected: list[str] | None) -> None:
    assert list(redact(["scenario", "run", *words])) == ["scenario", "run", *(expected or words)]


def test_the_tokenizer_is_not_a_secret_value_but_errs_on_the_safe_side() -> None:
    assert redact(["--set", "tokenizer=bert"]) == ("--set", f"tokenizer={HIDDEN}")
