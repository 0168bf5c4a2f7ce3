"""The house's rules that a machine can check."""

import ast
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("quote", "broker", "executor", "shared", "devnet", "galaksio", "cli")
ALLOWED = {
    "shared": {"shared"},
    "quote": {"quote", "shared"},
    "broker": {"broker", "shared"},
    "executor": {"executor", "shared"},
    "devnet": {"devnet", "shared"},
    "galaksio": {"galaksio", "shared"},
    "cli": {"cli", "galaksio", "shared"},
}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """The top-level packages that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_it_may(package: str) -> None:
    for path in modules(package):
        ours = imported(path) & set(PACKAGES)
        assert ours <= ALLOWED[package], f"{path.relative_to(ROOT)} imports {ours - ALLOWED[package]}"


def test_the_client_shares_only_what_travels_and_how_it_is_counted() -> None:
    """Someone else's program imports it: nothing of a service comes along."""
    allowed = {"caches", "challenges", "errors", "ipfs", "jobs", "money", "networks", "quotes", "receipts"}
    allowed |= {"sign_in", "store"}
    for path in modules("galaksio"):
        nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        names = [(node.module or "").split(".") for node in nodes]
        assert {name[1] for name in names if name[0] == "shared"} <= allowed, path


def test_type_checkers_are_told_to_read_the_client_and_what_it_returns() -> None:
    """PEP 561; without the mark on `shared`, what a run returns is `Any` to them."""
    for package in ("galaksio", "shared"):
        assert (ROOT / package / "py.typed").is_file()


def test_no_middleware_is_of_the_kind_that_buffers_bodies() -> None:
    """Neither starlette's base class for it nor the decorator of an app, which is made of that."""
    for package in PACKAGES:
        for path in modules(package):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom):
                    assert node.module != "starlette.middleware.base", path
                elif isinstance(node, ast.Import):
                    assert "starlette.middleware.base" not in {alias.name for alias in node.names}, path
                elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    assert node.func.attr != "middleware", path


def test_every_module_and_public_class_says_what_it_is() -> None:
    silent = []
    for package in PACKAGES:
        for path in modules(package):
            tree = ast.parse(path.read_text())
            if tree.body and ast.get_docstring(tree) is None and "versions" not in path.parts:
                silent.append(str(path.relative_to(ROOT)))
    assert silent == []


def test_no_module_name_hides_a_package_when_run_from_its_folder() -> None:
    """`cd broker && uvicorn main:app` puts broker/ first on the path: broker/limits.py would be `limits`."""
    others = set(sys.stdlib_module_names) | set(packages_distributions())
    for package in ("quote", "broker", "executor", "devnet"):
        names = {path.stem for path in (ROOT / package).glob("*.py")} | {
            path.name for path in (ROOT / package).iterdir() if path.is_dir()
        }
        assert not (names - {"__init__", "__main__", "__pycache__"}) & others
