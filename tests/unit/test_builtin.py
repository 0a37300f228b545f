"""Built-in assets: in the checkout and in an installed package."""

from __future__ import annotations

from runner import builtin


def test_the_checkout_holds_the_scenarios():
    assert builtin.asset_root("scenarios").is_dir()
    assert "efficientnet" in builtin.builtin_scenarios()


def test_a_name_with_or_without_suffix():
    assert builtin.find_builtin("efficientnet") == builtin.find_builtin("efficientnet.yaml")
    assert builtin.find_builtin("efficientnet").is_file()
    assert builtin.find_builtin("no-such-thing") is None


def test_an_installed_package_carries_its_own(tmp_path, monkeypatch):
    installed = tmp_path / "runner" / "_assets" / "scenarios"
    installed.mkdir(parents=True)
    (installed / "one.yaml").write_text("scenario: 1\n")
    monkeypatch.setattr(builtin, "_PACKAGE", tmp_path / "runner")
    assert builtin.builtin_scenarios() == {"one": installed / "one.yaml"}
    assert builtin.asset_root("model_repos") == tmp_path / "model_repos"


def test_nearest_names_best_first():
    assert builtin.nearest("effcientnet", ["resnet", "efficientnet", "efficientdet"])[0] == "efficientnet"
    assert builtin.nearest("Batch", ["batch"]) == ["batch"]
    assert builtin.nearest("zzz", ["batch"]) == []
