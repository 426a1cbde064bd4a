"""Everything public in the package has a docstring."""

import ast
from collections.abc import Iterator

import pytest
from tree import modules, parse

pytestmark = pytest.mark.once

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def test_everything_public_has_a_docstring():
    silent = [
        f"{module}: {where}"
        for module, path in modules().items()
        for where, definition in public(parse(path), "")
        if not ast.get_docstring(definition) and not overloads(definition)
    ]
    assert not silent


def public(scope: ast.Module | ast.ClassDef, prefix: str) -> Iterator[tuple[str, Definition]]:
    """Yield the public classes, functions and methods of a module, with their dotted names."""
    for node in scope.body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from public(node, f"{prefix}{node.name}.")


def overloads(definition: Definition) -> bool:
    """Tell whether `definition` is a setter or an `@overload`, which the first definition speaks for."""
    marks = {ast.unparse(decorator).rpartition(".")[2] for decorator in definition.decorator_list}
    return bool(marks & {"setter", "deleter", "overload"})
