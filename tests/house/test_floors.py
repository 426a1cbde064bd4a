"""Imports point only downward and never in a circle, type imports and C imports included."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from tree import imports, modules, parse

pytestmark = pytest.mark.once

FLOORS = {"foundation": 0, "wire": 1, "gateway": 2, "net": 3, "worker": 4, "supervisor": 5, "cli": 6}
ROOF = 7  # trilithon/__init__, __main__, testing and pytest_plugin: what users import


def floor(module: str) -> int:
    """Return the floor that `module` stands on."""
    parts = module.split(".")
    return FLOORS.get(parts[1], ROOF) if len(parts) > 1 else ROOF


def test_every_package_has_a_floor():
    packages = {path.parent.name for module, path in modules().items() if path.name == "__init__.py" and "." in module}
    assert packages <= set(FLOORS)


def test_imports_point_down():
    upward = [
        f"{module} (floor {floor(module)}) imports {imported} (floor {floor(imported)})"
        for module, path in modules().items()
        for imported in imports(module, path)
        if floor(imported) > floor(module)
    ]
    assert not upward


def test_nothing_goes_round_in_a_circle():
    graph = {module: {each for each in imports(module, path) if each != module} for module, path in modules().items()}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join([*trail[trail.index(module) :], module])
        if module not in done:
            for imported in graph[module]:
                visit(imported, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_only_the_net_and_the_worker_touch_sockets_and_clocks():
    above_the_wire = {"socket", "select", "selectors", "ssl", "threading", "asyncio", "time"}
    offenders = []
    for module, path in modules().items():
        if floor(module) == FLOORS["wire"]:
            offenders += [f"{module} imports {each}" for each in standard_imports(path) if each in above_the_wire]
    assert not offenders


def standard_imports(path: Path) -> Iterator[str]:
    """Return the top-level names of everything that the file at `path` imports."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").partition(".")[0]
