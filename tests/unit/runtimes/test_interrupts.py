"""Signals become an exception, once, and only where nobody else handles them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from runner.runtimes.interrupts import Stop, terminations_as_exit


@pytest.fixture(autouse=True)
def nobody_handles_them() -> Iterator[None]:
    """A server of another test that runs for the whole session has handlers of its own."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_becomes_an_exit_with_its_status(number: signal.Signals) -> None:
    with pytest.raises(SystemExit) as caught, terminations_as_exit():
        signal.raise_signal(number)
    assert caught.value.code == 128 + number
    assert signal.getsignal(number) is signal.SIG_DFL


def test_a_handler_of_somebody_else_stays() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with terminations_as_exit():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_another_thread_changes_nothing() -> None:
    seen = []

    def run() -> None:
        with terminations_as_exit():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_asks_and_the_second_does_what_it_always_did(number: signal.Signals) -> None:
    before = signal.signal(number, signal.default_int_handler)
    try:
        stop = Stop()
        with stop.listening():
            assert not stop.asked()
            signal.raise_signal(number)
            assert stop.asked()
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
        assert signal.getsignal(number) is signal.default_int_handler
        with pytest.raises(KeyboardInterrupt):
            stop.pass_on()
    finally:
        signal.signal(number, before)


def test_nobody_asked_nothing_is_passed_on() -> None:
    stop = Stop()
    before = signal.getsignal(signal.SIGINT)
    with stop.listening():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
    stop.pass_on()


def test_ignored_signals_stay_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stop = Stop()
        with stop.listening():
            signal.raise_signal(signal.SIGHUP)
        assert not stop.asked()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_in_another_thread_nobody_listens() -> None:
    seen = []

    def run() -> None:
        with Stop().listening():
            seen.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]
