"""What a server's log tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.runtimes.serverlog import ServerLog, cause, is_error, remedy

HARMLESS = 'E1121 03:58:52.229631 6939 server.cc:241] "CudaDriverHelper has not been initialized."'
FAILED = (
    "E1121 03:58:52.275071 6939 model_lifecycle.cc:642] \"failed to load 'broken' version 1: Internal: "
    "ModuleNotFoundError: No module named 'helpers'\\n\\nAt:\\n  /repo/broken/1/model.py(1): <module>\\n"
    '  <frozen importlib._bootstrap>(241): _call\\n"'
)
TAKEN = (
    'E1121 03:58:59.140244 7134 main.cc:245] "failed to start GRPC service: Unavailable - '
    "Socket '127.0.0.1:18001' already in use \""
)
TABLE = "| broken | 1 | UNAVAILABLE |"
INFO = 'I1121 03:58:52.277819 6939 metrics.cc:770] "Collecting CPU metrics"'
END = "error: creating server: Invalid argument - load failed for model 'broken'"


@pytest.fixture
def log(tmp_path: Path) -> ServerLog:
    path = tmp_path / "log"
    path.write_text("\n".join([FAILED, "", HARMLESS, INFO, FAILED, TABLE, END, ""]))
    return ServerLog(path, start=len(FAILED) + 1)


def test_only_this_servers_part_is_read(log: ServerLog) -> None:
    assert log.lines() == [HARMLESS, INFO, FAILED, TABLE, END]
    assert log.tail(2) == [TABLE, END]


def test_evidence_begins_with_the_errors_and_has_no_tables(log: ServerLog) -> None:
    assert log.evidence(3) == [FAILED, END, INFO]


def test_a_failed_model_is_found(log: ServerLog) -> None:
    assert log.failed_model() == "broken"
    assert not log.port_taken()


def test_a_taken_port_is_found(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(TAKEN)
    log = ServerLog(tmp_path / "log")
    assert log.port_taken()
    assert log.failed_model() is None


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert ServerLog(tmp_path / "none").evidence() == []


def test_of_a_large_log_only_the_end_is_read(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(f"first\n{'x' * 80}\n" + f"{'y' * 99}\n" * 10_000)
    lines = ServerLog(tmp_path / "log").lines()
    assert "first" not in lines
    assert 2000 < len(lines) < 3000


@pytest.mark.parametrize(
    ("line", "error"),
    [(FAILED, True), (END, True), ("Signal (11) received.", True), ("Signal (15) received.", False),
     ("Signal (2) received.", False), (HARMLESS, False), (INFO, False), (TABLE, False)],
)  # fmt: skip
def test_what_counts_as_an_error(line: str, error: bool) -> None:
    assert is_error(line) is error


def test_the_cause_is_one_sentence_with_the_place() -> None:
    assert cause([HARMLESS, END, FAILED]) == (
        "failed to load 'broken' version 1: Internal: ModuleNotFoundError: No module named 'helpers' "
        "(at /repo/broken/1/model.py(1): <module>)"
    )
    assert cause([END]) == END
    assert cause([HARMLESS, INFO]) is None


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("ModuleNotFoundError: No module named 'helpers'", "install 'helpers'"),
        ("unable to find backend library for backend 'dali', try", "only the python backend"),
        ("Failed to initialize shared memory: No space left on device", "--shm-size"),
        ("failed to poll from model repository", "layout"),
        ("PermissionError: Permission denied", "readable"),
        ("MemoryError", "fewer instances"),
    ],
)
def test_known_errors_have_a_remedy(text: str, advice: str) -> None:
    assert advice in (remedy([f"error: {text}"]) or "")


def test_a_flag_that_the_server_does_not_know_is_named(tmp_path: Path) -> None:
    """Its usage, two hundred lines, comes after the complaint or before it."""
    for complaint, name in (
        ("/opt/tritonserver: unrecognized option '--nonsense=1'", "nonsense"),
        ("/opt/tritonserver: option '--grpc-port' requires an argument", "grpc-port"),
        ('Bad option: "--log-verbose".', "log-verbose"),
    ):
        path = tmp_path / "server.log"
        path.write_text("\n".join([complaint, *(f"  --flag-{n} <x>" for n in range(200))]))
        lines = ServerLog(path).lines()
        assert cause(lines) == complaint.removeprefix("/opt/")
        assert f"server.flags.{name}" in (remedy(lines) or "")
        assert ServerLog(path).evidence()[0].endswith(complaint)


def test_an_unknown_error_has_no_remedy_and_harmless_lines_do_not_count() -> None:
    assert remedy(["error: something else", "I1121 MemoryError in a note"]) is None
