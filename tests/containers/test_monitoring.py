"""What Prometheus and Grafana are given: read as text, and held against what the services publish."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.containers.files import PORTS, ROOT, SERVICES, compose

MONITORING = ROOT / "deploy/monitoring"
OF_PROMETHEUS = {"up", "ALERTS"}


def published() -> dict[str, tuple[str, set[str]]]:
    """Kind and labels of every metric in metrics.txt."""
    lines = (MONITORING / "metrics.txt").read_text().splitlines()
    words = [line.split() for line in lines if line and not line.startswith("#")]
    return {name: (kind, set(labels)) for name, kind, *labels in words}


def expressions() -> Iterator[tuple[str, str]]:
    """Every query, with where it stands."""
    for group in yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def dashboard() -> Any:
    return json.loads((MONITORING / "dashboards/galaksio.json").read_text())


QUERIES = list(expressions())


@pytest.mark.parametrize(("where", "query"), QUERIES, ids=[where for where, _ in QUERIES])
def test_a_query_asks_for_what_the_services_publish(where: str, query: str) -> None:
    known = published()
    plain = re.sub(r'"[^"]*"', '""', query)
    named = set(re.findall(r"\b(?:galaksio|http|process)_[a-z_]+\b", plain))
    assert named or OF_PROMETHEUS & set(re.findall(r"\w+", plain)), where
    for name in named:
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        metric = name if name in known else base
        assert metric in known, f"{where}: nobody publishes {name}"
        kind, labels = known[metric]
        assert (kind == "histogram") is name.endswith(("_bucket", "_sum", "_count")), (where, name)
        for selected in re.findall(rf"\b{name}\{{([^}}]*)\}}", plain):
            assert set(re.findall(r"(\w+)(?:=~|!~|!=|=)", selected)) <= labels, (where, name)
        if kind == "counter":
            assert re.search(rf"(rate|increase)\({name}\b", plain), f"{where}: {name} only grows"


def test_every_metric_is_shown_or_watched() -> None:
    asked = " ".join(query for _, query in QUERIES)
    assert [name for name in published() if name not in asked] == []


def test_all_services_are_scraped_where_they_listen_with_the_token() -> None:
    jobs = {
        job["job_name"]: job
        for job in yaml.safe_load((MONITORING / "prometheus.yml").read_text())["scrape_configs"]
    }
    for name in SERVICES:
        (found,) = jobs[name]["dns_sd_configs"]
        assert (found["names"], found["type"], found["port"]) == ([name], "A", PORTS[name])
        assert jobs[name]["authorization"] == {"credentials_file": "/run/galaksio/INTERNAL_API_TOKEN"}
    assert "for-prometheus:/run/galaksio:ro" in compose()["services"]["prometheus"]["volumes"]


def test_a_service_has_one_address_for_prometheus() -> None:
    """A name has one in each network that both are on, and what has two is counted twice."""
    services = compose()["services"]
    for name in SERVICES:
        shared = set(services["prometheus"]["networks"]) & set(services[name]["networks"])
        assert shared == {"inside"}, name
    # An internal network publishes no port.
    published = set(services["prometheus"]["networks"]) - {"inside"}
    assert [bool((compose()["networks"][name] or {}).get("internal")) for name in published] == [False]


def test_an_alert_says_how_bad_it_is_and_what_it_means() -> None:
    names = []
    for group in yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            names.append(rule["alert"])
            assert rule["labels"]["severity"] in {"page", "warn"}, rule["alert"]
            assert rule["annotations"]["summary"].endswith("."), rule["alert"]
            assert rule["for"], rule["alert"]
    assert len(set(names)) == len(names) >= 10


def test_grafana_finds_its_source_and_its_dashboard() -> None:
    (source,) = yaml.safe_load((MONITORING / "grafana/datasources/prometheus.yml").read_text())["datasources"]
    used = {panel["datasource"]["uid"] for panel in dashboard()["panels"] if "datasource" in panel}
    assert used == {source["uid"]}
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((MONITORING / "grafana/dashboards/galaksio.yml").read_text())["providers"]
    grafana = compose()["services"]["grafana"]
    assert f"./deploy/monitoring/dashboards:{provider['options']['path']}:ro" in grafana["volumes"]
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(set(ids)) == len(ids)


def cases_of_alerts() -> dict[str, list[bool]]:
    """Of each alert, whether it fires in each of the cases of alerts.test.yml."""
    found: dict[str, list[bool]] = {}
    for test in yaml.safe_load((MONITORING / "alerts.test.yml").read_text())["tests"]:
        for case in test["alert_rule_test"]:
            found.setdefault(case["alertname"], []).append(bool(case.get("exp_alerts")))
    return found


def test_every_alert_is_seen_silent_and_firing() -> None:
    groups = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    assert cases_of_alerts().keys() == {rule["alert"] for group in groups for rule in group["rules"]}
    assert [name for name, cases in cases_of_alerts().items() if set(cases) != {True, False}] == []


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (Debian: the package prometheus or promtool)")
    return found


def test_alerts_fire_when_they_should_and_only_then(promtool: str) -> None:
    checked(promtool, "test", "rules", str(MONITORING / "alerts.test.yml"))


def test_prometheus_takes_its_configuration_and_the_rules(promtool: str, tmp_path: Path) -> None:
    (tmp_path / "INTERNAL_API_TOKEN").write_text("one")
    config = (MONITORING / "prometheus.yml").read_text().replace("/run/galaksio", str(tmp_path))
    (tmp_path / "prometheus.yml").write_text(config)
    shutil.copy(MONITORING / "alerts.yml", tmp_path)
    checked(promtool, "check", "config", str(tmp_path / "prometheus.yml"))


def checked(promtool: str, *arguments: str) -> None:
    done = subprocess.run([promtool, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
