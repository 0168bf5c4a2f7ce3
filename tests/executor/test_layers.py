"""The parts of layers by themselves: keys, the store, where it is, which index is asked."""

import os
from pathlib import Path

import pytest

from executor.dependencies.contents import take_over
from executor.dependencies.errors import DependencyInvalid
from executor.dependencies.index import find_index
from executor.dependencies.locks import take
from executor.dependencies.place import choose_place
from executor.dependencies.recipe import Recipe
from executor.dependencies.store import Store
from executor.sandbox import reach
from executor.sandbox.identity import Identity
from executor.settings import ExecutorSettings
from shared.errors import StartupError
from shared.settings import load_settings
from tests.executor.conftest import root_only


def test_a_link_that_leads_outside_is_refused_even_in_a_roundabout_way(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    site = tmp_path / "site"
    (site / "a" / "b").mkdir(parents=True)
    (site / "a" / "b" / "near").symlink_to("../..")
    assert take_over(site, 1 << 20) > 0
    for target in ("near/../out", "../../../out", "/etc/passwd"):
        (site / "a" / "b" / "far").unlink(missing_ok=True)
        (site / "a" / "b" / "far").symlink_to(target)
        with pytest.raises(DependencyInvalid):
            take_over(site, 1 << 20)
    (site / "a" / "b" / "far").unlink()
    os.mkfifo(site / "pipe")
    with pytest.raises(DependencyInvalid):
        take_over(site, 1 << 20)


def test_a_key_names_all_that_a_layer_depends_on_and_ages_unless_versions_are_exact() -> None:
    exact, free = Recipe(("six==1.0",), "3.11 abi", ""), Recipe(("six==1.*",), "3.11 abi", "")
    day = 86_400
    assert exact.key(0, day) == exact.key(10 * day, day)
    assert free.key(0, day) != free.key(day, day)
    assert len({free.key(now, day) for now in range(0, day, 600)}) <= 2
    others = [Recipe(("six",), "3.11 abi", ""), Recipe(free.requirements, "3.12", "")]
    others.append(Recipe(free.requirements, free.abi, "http://other"))
    assert len({recipe.key(0, day) for recipe in [free, exact, *others]}) == 5


def test_a_layer_that_a_power_cut_may_have_spoiled_is_not_used(place: Path) -> None:
    store = Store(place / "layers")
    store.open()
    made = place / "made"
    made.mkdir()
    lock = store.begin("key")
    assert lock is not None and store.begin("key") is None and store.hold("key") is None
    store.publish("key", made, ["six==1.0"], 1)
    store.end("key", lock)
    rebooted = Store(place / "layers")
    rebooted._boot = "another"
    assert rebooted.hold("key") is None
    held = store.hold("key")
    assert held is not None and held.layer.resolved == ("six==1.0",)
    assert take(held.lock.path) is None
    held.release()
    store.make_durable("key")
    again = rebooted.hold("key")
    assert again is not None
    again.release()


@root_only
def test_layers_of_a_closed_home_are_kept_where_runs_can_get_to(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "PLACE", place / "cache")
    dropped = Identity(60_600, 60_600, dropped=True)
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    assert choose_place(None, closed, dropped).parent == place / "cache"
    assert choose_place(None, place / "open", dropped) == place / "open" / "layers"
    with pytest.raises(LookupError, match="EXECUTOR_LAYERS"):
        choose_place(closed / "layers", place, dropped)
    ourselves = Identity(os.getuid(), os.getgid(), dropped=False)
    assert choose_place(None, closed, ourselves) == closed / "layers"


def test_the_index_is_the_configured_one_else_that_of_uv_or_pip(tmp_path: Path) -> None:
    settings = tmp_path / ".config/pip/pip.conf"
    settings.parent.mkdir(parents=True)
    settings.write_text("[global]\nindex-url = http://pip.test/simple\ncert = /etc/own.pem\n")
    environment = {"PIP_INDEX_URL": "http://environment.test/simple", "https_proxy": "http://proxy.test:1"}
    told = find_index("http://own.test/simple", environment, tmp_path).environment()
    assert told["UV_DEFAULT_INDEX"] == "http://own.test/simple"
    assert (told["https_proxy"], told["SSL_CERT_FILE"]) == ("http://proxy.test:1", "/etc/own.pem")
    assert find_index(None, environment, tmp_path).url == "http://environment.test/simple"
    named = find_index(None, {"PIP_CONFIG_FILE": os.devnull}, tmp_path)
    assert named.url == "http://pip.test/simple" and "pip.test" not in repr(named)
    with pytest.raises(StartupError, match="EXECUTOR_INDEX_URL"):
        load_settings(ExecutorSettings, {"EXECUTOR_INDEX_URL": "file:///tmp"})
