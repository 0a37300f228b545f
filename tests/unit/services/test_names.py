"""What every protocol's client says about names."""

from __future__ import annotations

from runner.services.names import version_order


def test_versions_are_in_order_of_their_numbers_and_words_come_first() -> None:
    assert sorted(["10", "9", "²", "latest", "1"], key=version_order) == ["latest", "²", "1", "9", "10"]
