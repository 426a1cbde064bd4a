"""The `.pxd` files declare what their modules hold, and the build under test is wholly one build."""

import ast
import importlib
import re
from pathlib import Path

import pytest
from tree import PACKAGE, name, parse

from trilithon.foundation import leaf

DECLARED = sorted(path for path in PACKAGE.rglob("*.pxd") if path.name != "__init__.pxd")
CLASS = re.compile(r"^cdef class (\w+)(?:\((\w+)\))?:", re.MULTILINE)
FUNCTION = re.compile(r"^\s*(?:cdef|cpdef) (?!class\b)[^(=\n]*?\b(\w+)\(", re.MULTILINE)
ATTRIBUTE = re.compile(r"^    cdef (?:public |readonly )?[\w.\[\]: *]*?\b(\w+(?:, *\w+)*)(?:  #.*)?$", re.MULTILINE)


@pytest.mark.once
@pytest.mark.parametrize("declarations", DECLARED, ids=name)
def test_what_is_declared_is_there(declarations: Path):
    text = declarations.read_text(encoding="utf-8")
    tree = parse(declarations.with_suffix(".py"))
    classes = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    text = re.sub(r"cdef extern[^\n]*\n(?:    .*\n|\n)*", "", text)

    assert {found for found, _ in CLASS.findall(text)} <= set(classes)
    assert set(FUNCTION.findall(text)) <= functions
    for found, body in bodies(text):
        missing = {each for each in attributes(body) if not assigned(classes[found], each)}
        assert not missing, f"{found} never sets {missing}"


def bodies(text: str) -> list[tuple[str, str]]:
    """Return each declared class with the text of its block."""
    starts = [(match.group(1), match.end()) for match in CLASS.finditer(text)]
    return [(found, re.split(r"^\S", text[end:], maxsplit=1, flags=re.MULTILINE)[0]) for found, end in starts]


def attributes(body: str) -> set[str]:
    """Return the attributes that the block of one class declares."""
    return {each.strip() for names in ATTRIBUTE.findall(body) if "(" not in names for each in names.split(",")}


def assigned(node: ast.ClassDef, attribute: str) -> bool:
    """Tell whether the class sets `attribute`, as `self.attribute` or in its body."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute) and inner.attr == attribute:
            return True
        if isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name) and inner.target.id == attribute:
            return True
    return False


@pytest.mark.parametrize("declarations", DECLARED, ids=name)
def test_the_build_is_wholly_one_build(declarations: Path):
    dotted = ".".join(declarations.relative_to(PACKAGE.parent).with_suffix("").parts)
    origin = importlib.import_module(dotted).__file__
    assert origin is not None
    assert Path(origin).suffix == (".so" if leaf.COMPILED else ".py")
