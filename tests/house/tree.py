"""The files of the project and what their source says, as the tests of the house read them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "trilithon"
FOLDERS = ("src", "tests", "scripts", "demo", "examples", "benchmarks", "docs", ".ci")
LEFT_OUT = {"__pycache__", "node_modules"}

CIMPORT = re.compile(r"^\s*(?:from\s+([\w.]+)\s+cimport\s+(.+)|cimport\s+([\w.]+))", re.MULTILINE)


def files(*suffixes: str) -> list[Path]:
    """Return the project's own text files that end so; a script without a suffix counts as its language's."""
    found = [path for path in ROOT.iterdir() if path.is_file()]
    for folder in FOLDERS:
        found += (ROOT / folder).rglob("*")
    return sorted(
        path
        for path in found
        if path.is_file() and not LEFT_OUT & set(path.parts) and ".egg-info" not in str(path) and kind(path) in suffixes
    )


def kind(path: Path) -> str:
    """Return the suffix of `path`, for a script the one that its first line stands for."""
    if path.suffix or path.parent.name not in ("scripts", ".ci"):
        return path.suffix
    with path.open("rb") as handle:
        head = handle.readline()
    return ".py" if b"python" in head else ".sh"


def name(path: Path) -> str:
    """Return the path inside the project, as test IDs and messages show it."""
    return path.relative_to(ROOT).as_posix()


def parse(path: Path) -> ast.Module:
    """Return the syntax tree of a Python file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def modules() -> dict[str, Path]:
    """Return the modules of the package by name; a package goes by its own name, without `__init__`."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


def imports(module: str, path: Path) -> Iterator[str]:
    """Yield the modules of the package that `module` imports anywhere, in `if TYPE_CHECKING:` and functions too."""
    known = modules()
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                origin = ".".join([*above, origin] if origin else above)
            yield from named(origin, [alias.name for alias in node.names], known)
    declarations = path.with_suffix(".pxd")
    if declarations.exists():
        for origin, names, plain in CIMPORT.findall(declarations.read_text(encoding="utf-8")):
            wanted = [each.split()[0] for each in names.strip("() ").split(",") if each]
            yield from named(origin or plain, wanted, known)


def named(origin: str, names: list[str], known: dict[str, Path]) -> Iterator[str]:
    """Yield what `from origin import names` loads: the submodules among the names, and `origin` for the rest."""
    for each in names or [""]:
        if f"{origin}.{each}" in known:
            yield f"{origin}.{each}"
        elif origin in known:
            yield origin
