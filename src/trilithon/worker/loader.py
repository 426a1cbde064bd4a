"""Find and import the application that a target names, and say in one message what is wrong when that fails."""

import importlib
import importlib.util
import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from trilithon.foundation.accounts import user_of
from trilithon.foundation.errors import LoadError
from trilithon.foundation.option_row import suggestion
from trilithon.worker.interface import Guess, can_take, describe, detect, is_coroutine_callable

_APPLICATION_NAMES = ("app", "application")
_FACTORY_NAME = "create_app"
_POSITIONAL = {"asgi": 3, "asgi2": 1, "wsgi": 2}
_ARGUMENTS = {"asgi": "(scope, receive, send)", "asgi2": "(scope)", "wsgi": "(environ, start_response)"}
_PACKAGE_DIRECTORY = str(Path(__file__).resolve().parent.parent) + os.sep


@dataclass(frozen=True, slots=True)
class Loaded:
    """An application with its interface, "asgi", "asgi2" or "wsgi", and the target that names it."""

    app: Any
    interface: str
    target: str


def load(target: str | object, *, interface: str = "auto", factory: bool = False, app_dir: str = ".") -> Loaded:
    """Import and judge the application; runs the application's own module code, on the calling thread.

    `target` is `module:attr`, `module`, a `.py` file with or without `:attr`, the settings module of a Django project,
    or the application itself. Raises `LoadError`, with the application's own exception as its cause when one was raised
    inside its code; `explain` writes both for a person.
    """
    if isinstance(target, str):
        app, name = _find(target, interface, factory, app_dir)
    else:
        name = getattr(target, "__qualname__", type(target).__qualname__)
        app = _call_factory(target, name) if factory else target
    return Loaded(app, _settle(app, interface, name), name)


def explain(fault: LoadError) -> str:
    """Write `fault` for a terminal: the application's own traceback, without frames of ours, then the message."""
    message = f"trilithon: {fault}"
    cause = fault.__cause__
    if cause is None:
        return message
    written = traceback.TracebackException.from_exception(cause)
    _keep_own_frames(written)
    return "".join(written.format()) + "\n" + message


def _keep_own_frames(written: traceback.TracebackException) -> None:
    """Drop the frames of this package and of the import system, in causes and contexts too."""
    own = [frame for frame in written.stack if not is_machinery(frame.filename)]
    written.stack = traceback.StackSummary.from_list(own)
    for other in (written.__cause__, written.__context__):
        if other is not None:
            _keep_own_frames(other)


def is_machinery(filename: str) -> bool:
    """Tell whether a frame of this file is ours or the import system's, and not the application's."""
    if filename.startswith(("<frozen importlib", "src/trilithon/", _PACKAGE_DIRECTORY)):
        return True
    return filename == importlib.__file__


def _find(target: str, interface: str, factory: bool, app_dir: str) -> tuple[Any, str]:
    """Return the application and its `module:attr` name."""
    directory = _directory(app_dir)
    place, _, attr = target.strip().partition(":")
    if not place:
        raise LoadError("application", target, "names no module; type module:attr, such as main:app")
    _put_on_path(directory)
    module = _import(place, directory, target)
    if _is_django_settings(module) and not attr:
        return _from_django(module, interface, directory)
    if attr:
        found = _walk(module, attr, target)
        name = f"{module.__name__}:{attr}"
    else:
        found, name, is_maker = _search(module, target, factory)
        factory = factory or is_maker
    return (_call_factory(found, name) if factory else found), name


def _directory(app_dir: str) -> Path:
    """Return the directory of the application; one that this user may not read would only look empty."""
    directory = Path(app_dir).resolve()
    try:
        if not directory.is_dir():
            raise LoadError("app_dir", app_dir, "is not a directory; type --app-dir DIRECTORY")
        readable = os.access(directory, os.R_OK | os.X_OK)
    except PermissionError:
        readable = False
    if not readable:
        user = user_of(os.geteuid()).name or os.geteuid()
        raise LoadError("app_dir", app_dir, f"user {user} may not read {directory}; change its mode or the user")
    return directory


def _put_on_path(directory: Path) -> None:
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))


def _import(place: str, directory: Path, target: str) -> ModuleType:
    path = _as_path(place, directory, target)
    name = place
    try:
        if path is not None:
            return _import_file(path)
        return importlib.import_module(name)
    except ModuleNotFoundError as fault:
        if path is None and fault.name is not None and (name == fault.name or name.startswith(fault.name + ".")):
            _no_module(name, fault.name, directory, target)
        _broken(target, fault)
    except LoadError:
        raise
    except SystemExit as fault:
        _broken(target, fault)
    except Exception as fault:
        _broken(target, fault)


def _as_path(place: str, directory: Path, target: str) -> Path | None:
    """Return the file that `place` names, none when it is a dotted name; the current directory goes first."""
    if not place.endswith(".py") and os.sep not in place:
        if Path(place).is_file():
            raise LoadError("application", target, f"{place} is no Python file; type a file that ends in .py")
        if all(part.isidentifier() for part in place.split(".")):
            return None
        raise LoadError(
            "application", target, f"{place!r} is neither a dotted module name nor a .py file; type module:attr"
        )
    for path in (Path(place), directory / place):
        if path.is_dir():
            raise LoadError("application", target, f"is a directory; type one of its files{_files_in(path)}")
        if path.is_file():
            if path.suffix != ".py":
                raise LoadError("application", target, f"{path.name} is no Python file; type a file that ends in .py")
            return path.resolve()
    near = suggestion(Path(place).name, [each.name for each in _python_files((directory / place).parent)])
    raise LoadError("application", target, f"there is no file {place}{near or '; type the path of a .py file'}")


def _import_file(path: Path) -> ModuleType:
    """Import a file by its name within its package, or alone when no package holds it."""
    root, parts = path.parent, [] if path.stem == "__init__" else [path.stem]
    while (root / "__init__.py").is_file() and root.name.isidentifier():
        parts.insert(0, root.name)
        root = root.parent
    _put_on_path(root)
    name = ".".join(parts)
    if len(parts) > 1:
        return importlib.import_module(name)
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    # A file called like a module that is loaded already, json.py or site.py, must not replace it for everybody else.
    name = name if known is None and name.isidentifier() else f"trilithon_application_{name}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise LoadError("application", str(path), "cannot be imported; type the path of a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _broken(target: str, fault: BaseException) -> NoReturn:
    """Report an exception out of the application's own code, which stays attached as the cause."""
    what = type(fault).__name__
    if isinstance(fault, SystemExit):
        remedy = f"importing it called sys.exit({fault.code!r}); guard that with if __name__ == '__main__'"
    else:
        remedy = f"importing it raised {what}: {fault}; the traceback above ends where the application has to be mended"
    raise LoadError("application", target, remedy) from fault


def _no_module(name: str, missing: str, directory: Path, target: str) -> NoReturn:
    parent, _, last = missing.rpartition(".")
    if parent:
        package = sys.modules.get(parent)
        places = [Path(each) for each in getattr(package, "__path__", ())]
        if not places:
            raise LoadError("application", target, f"{parent} is a module and not a package; type {parent}:{last}")
    else:
        places = [directory]
    names = [each for place in places for each in _modules_in(place)]
    where = f"the package {parent}" if parent else str(directory)
    remedy = f"there is no module {missing!r} in {where}{suggestion(last, names)}"
    if not suggestion(last, names):
        remedy += f"; it has {_join(names)}" if names else "; it has no Python modules"
        remedy += "" if parent else "; type --app-dir DIRECTORY if the application is elsewhere"
    raise LoadError("application", target, remedy)


def _python_files(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.py")) if directory.is_dir() else []


def _files_in(directory: Path) -> str:
    names = [str(path) for path in _python_files(directory) if not path.name.startswith("_")]
    return f": {_join(names)}" if names else ", such as main.py"


def _modules_in(directory: Path) -> list[str]:
    packages = [path.parent.name for path in directory.glob("*/__init__.py")] if directory.is_dir() else []
    return sorted({path.stem for path in _python_files(directory)} - {"__init__", "setup"} | set(packages))


def _join(names: list[str]) -> str:
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")


def _walk(module: ModuleType, attr: str, target: str) -> Any:
    """Follow a dotted attribute from `module`."""
    found: Any = module
    for part in attr.split("."):
        if not part.isidentifier():
            remedy = "after the colon comes the name of an object"
            if part.endswith("()"):
                remedy += f"; for a function that makes the application type {target.replace('()', '')} --factory"
            raise LoadError("application", target, remedy)
        try:
            found = getattr(found, part)
        except AttributeError:
            what = f"module {found.__name__!r}" if isinstance(found, ModuleType) else describe(found)
            _no_attribute(module, f"{what} has no {part!r}", part, dir(found), target)
    return found


def _no_attribute(module: ModuleType, what: str, part: str, names: Any, target: str) -> NoReturn:
    near = suggestion(part, [name for name in names if not name.startswith("_")])
    candidates = _candidates(module)
    if not near and candidates:
        near = "; type " + " or ".join(f"{module.__name__}:{name}" for name in candidates[:4])
    raise LoadError("application", target, what + (near or "; type module:attr with the name of the application"))


def _candidates(module: ModuleType) -> list[str]:
    """List what in `module` looks like an application beyond doubt: no plain functions, nothing imported as a class."""
    found = []
    for name, value in vars(module).items():
        try:
            if not name.startswith("_") and _is_candidate(value, module):
                found.append(name)
        except Exception:
            continue  # a proxy, such as Flask's `request`, which is nothing to look at outside of a request
    return found


def _is_candidate(value: Any, module: ModuleType) -> bool:
    if isinstance(value, (type, ModuleType)) or not callable(value):
        return False
    if getattr(value, "__module__", module.__name__) != module.__name__ and hasattr(value, "__code__"):
        return False
    return detect(value).guess in (Guess.ASGI, Guess.ASGI2, Guess.WSGI)


def _search(module: ModuleType, target: str, factory: bool) -> tuple[Any, str, bool]:
    """Find the application in a module that was named alone; the last value says that it is a factory."""
    if not factory:
        for name in _APPLICATION_NAMES:
            found = getattr(module, name, None)
            if found is not None and not isinstance(found, ModuleType):
                return found, f"{module.__name__}:{name}", False
    maker = getattr(module, _FACTORY_NAME, None)
    if callable(maker):
        return maker, f"{module.__name__}:{_FACTORY_NAME}", True
    looked = _FACTORY_NAME if factory else ", ".join((*_APPLICATION_NAMES, _FACTORY_NAME))
    names = [] if factory else [f"{module.__name__}:{name}" for name in _candidates(module)]
    names += [f"{module.__name__}.{name}" for name in _submodules(module)]
    remedy = f"module {module.__name__!r} has none of {looked}"
    remedy += f"; type {' or '.join(names[:4])}" if names else f"; type {module.__name__}:NAME with the name it has"
    raise LoadError("application", target, remedy)


def _submodules(module: ModuleType) -> list[str]:
    """List the modules of a package that usually hold an application or Django's settings."""
    present = [name for place in getattr(module, "__path__", ()) for name in _modules_in(Path(place))]
    return [name for name in ("main", "app", "asgi", "wsgi", "settings") if name in present]


def _call_factory(factory: Any, name: str) -> Any:
    if not callable(factory):
        raise LoadError("application", name, f"is {describe(factory)}, and no factory; leave --factory out")
    if is_coroutine_callable(factory):
        remedy = "a factory must be a plain function, there is no event loop yet"
        if detect(factory).guess is Guess.ASGI:
            remedy = "is an ASGI application, and no factory; leave --factory out"
        raise LoadError("application", name, remedy)
    if not can_take(factory, 0):
        raise LoadError("application", name, f"is {describe(factory)}; a factory takes no arguments")
    try:
        return factory()
    except (Exception, SystemExit) as fault:
        what = f"calling it raised {type(fault).__name__}: {fault}; the traceback above ends where it has to be mended"
        raise LoadError("application", name, what) from fault


def _is_django_settings(module: ModuleType) -> bool:
    names = vars(module)
    return "ROOT_URLCONF" in names or ("INSTALLED_APPS" in names and "SECRET_KEY" in names)


def _from_django(module: ModuleType, interface: str, directory: Path) -> tuple[Any, str]:
    """Make the application of the Django project that `module` has the settings of."""
    if interface == "asgi2":
        raise LoadError("interface", interface, "Django speaks asgi and wsgi; choose one of them")
    os.environ["DJANGO_SETTINGS_MODULE"] = module.__name__
    dotted = {"asgi": getattr(module, "ASGI_APPLICATION", None), "wsgi": getattr(module, "WSGI_APPLICATION", None)}
    if interface == "auto":
        interface = "asgi" if dotted["asgi"] else "wsgi"
    path = dotted[interface]
    if path:
        place, _, attr = str(path).rpartition(".")
        if not place:
            raise LoadError(
                f"{interface.upper()}_APPLICATION", path, "must be a dotted path, as in shop.wsgi.application"
            )
        return _walk(_import(place, directory, path), attr, path), f"{place}:{attr}"
    name = f"django.core.{interface}:get_{interface}_application"
    maker = _walk(_import(f"django.core.{interface}", directory, name), name.partition(":")[2], name)
    return _call_factory(maker, module.__name__), module.__name__


def _settle(app: Any, interface: str, name: str) -> str:
    """Return the interface to use; raises `LoadError` when none fits or the one asked for cannot."""
    if isinstance(app, ModuleType) or not callable(app):
        _refuse_object(app, name)
    detected = detect(app)
    if interface == "auto":
        if detected.guess in (Guess.ASGI, Guess.ASGI2, Guess.WSGI):
            return str(detected.guess.value)
        _refuse_unknown(app, detected.guess, detected.what, name)
    if interface == "wsgi" and is_coroutine_callable(app):
        raise LoadError("interface", interface, f"{name} is {detected.what}; type --interface asgi")
    # A class is called with its constructor's arguments, which is what the signature shows.
    if not can_take(app, _POSITIONAL[interface]):
        likely = f"; type --interface {detected.guess.value}" if detected.guess.value in _POSITIONAL else ""
        what = f"{name} is {detected.what} and cannot be called with {_ARGUMENTS[interface]}"
        raise LoadError("interface", interface, what + likely)
    return interface


def _refuse_object(app: Any, name: str) -> NoReturn:
    inner = _inner_application(app)
    if isinstance(app, ModuleType):
        names = _candidates(app)
        remedy = f"is a module; type {app.__name__}:{names[0] if names else 'app'}"
    elif inner:
        remedy = f"is {describe(app)}; its {inner} is an application: type {_deeper(name, inner)}"
    else:
        remedy = f"is {describe(app)}; name a WSGI or ASGI application"
    raise LoadError("application", name, remedy)


def _refuse_unknown(app: Any, guess: Guess, what: str, name: str) -> NoReturn:
    inner = _inner_application(app)
    if inner:
        remedy = f"is {what}; its {inner} is an application: type {_deeper(name, inner)}"
    elif isinstance(app, type):
        remedy = f"is {what}; make an object of it and name that, or add --factory if it needs no arguments"
    elif guess is Guess.FACTORY:
        remedy = f"is {what}; if it makes the application add --factory"
    else:
        remedy = f"is {what}; if it is an application say which: --interface wsgi, asgi or asgi2"
    raise LoadError("application", name, remedy)


def _inner_application(app: Any) -> str:
    """Name the attribute of `app` that is an application, such as `server` of a Dash object."""
    for name in () if isinstance(app, type) else ("server", "app", "wsgi_app", "asgi_app", "application"):
        if detect(getattr(app, name, None)).guess in (Guess.ASGI, Guess.WSGI):
            return name
    return ""


def _deeper(name: str, attr: str) -> str:
    return f"{name}.{attr}" if ":" in name else f"{name}:{attr}"
