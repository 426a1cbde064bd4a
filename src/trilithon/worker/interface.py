"""Tell which interface an application speaks from how it can be called, without calling it."""

import inspect
import types
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

# Where wrappers with a signature of `*args` keep what they wrap.
_WRAPPED_NAMES = ("app", "application", "wsgi_app", "asgi_app", "wrapped", "_app", "_application", "func")
_MAX_DEPTH = 8

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_WSGI_NAMES = ("environ", "env", "start_response")
_ASGI_NAMES = ("scope", "receive", "send")


class Guess(Enum):
    """What looking at an object told; the values of the first three are interfaces."""

    ASGI = "asgi"
    ASGI2 = "asgi2"
    WSGI = "wsgi"
    FACTORY = "factory"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Detected:
    """A guess and, for messages, what the object is, such as "a function of (request)"."""

    guess: Guess
    what: str


def detect(app: object) -> Detected:
    """Look at `app`: coroutine functions, how many positional arguments it takes, what they are called."""
    return Detected(_guess(app, _MAX_DEPTH), describe(app))


def describe(app: object) -> str:
    """Say what `app` is for a person: its kind, its class, its parameters where it has any."""
    kind = type(app)
    if isinstance(app, type):
        return f"the class {app.__name__}{_parameters(app)}"
    if isinstance(app, (types.FunctionType, types.MethodType, types.BuiltinFunctionType)):
        article = "a coroutine function" if inspect.iscoroutinefunction(app) else "a function"
        return f"{article} {app.__name__}{_parameters(app)}"
    if isinstance(app, types.ModuleType):
        return f"the module {app.__name__}"
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__.partition('.')[0]}.{kind.__name__}"
    article = "an" if name[0] in "aeiouAEIOU" else "a"
    if not callable(app):
        return f"{article} {name} object, which cannot be called"
    return f"{article} {name} object, called with {_parameters(app) or 'unknown parameters'}"


def can_take(app: Callable[..., Any], count: int) -> bool:
    """Say whether `app` can be called with `count` positional arguments; true where nobody can know."""
    signature = _signature(app)
    if signature is None:
        return True
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def is_coroutine_callable(app: object) -> bool:
    """Say whether calling `app` gives a coroutine, looking through partials, methods and `__call__`."""
    while isinstance(app, partial):
        app = app.func
    if inspect.iscoroutinefunction(app):
        return True
    # An instance may carry a `__call__` of its own in a slot, so the object is asked and not its class.
    return callable(app) and not isinstance(app, type) and inspect.iscoroutinefunction(app.__call__)


def _signature(app: Any) -> inspect.Signature | None:
    """Return how `app` is called, None for compiled code that does not say."""
    # The second attempt is for an instance with its `__call__` in a slot, where the class has only a descriptor.
    for each in (app,) if isinstance(app, type) else (app, app.__call__):
        try:
            return inspect.signature(each)
        except (ValueError, TypeError):
            continue
    return None


def _parameters(app: Any) -> str:
    signature = _signature(app)
    if signature is None:
        return ""
    bare = [each.replace(annotation=each.empty) for each in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=signature.empty))


def _guess(app: object, depth: int) -> Guess:
    if not callable(app) or depth == 0:
        return Guess.UNKNOWN
    # asgiref's markers, set by `guarantee_single_callable` and its decorators.
    if getattr(app, "_asgi_single_callable", False) is True:
        return Guess.ASGI
    if getattr(app, "_asgi_double_callable", False) is True:
        return Guess.ASGI2
    if isinstance(app, type):
        return _guess_class(app)
    if is_coroutine_callable(app):
        return Guess.ASGI if can_take(app, 3) else Guess.FACTORY if can_take(app, 0) else Guess.UNKNOWN
    guess = _guess_signature(app)
    if guess is not Guess.UNKNOWN:
        return guess
    inner = {_guess(wrapped, depth - 1) for wrapped in _wrapped(app)} - {Guess.UNKNOWN, Guess.FACTORY}
    return inner.pop() if len(inner) == 1 else Guess.UNKNOWN


def _guess_class(app: type[Any]) -> Guess:
    """Judge a class by what calling it gives: an iterable, an awaitable or a second callable."""
    if can_take(app, 3) and hasattr(app, "__await__"):
        return Guess.ASGI
    if can_take(app, 2) and hasattr(app, "__iter__"):
        return Guess.WSGI
    return Guess.ASGI2 if _required(app) == 1 and _takes_events(app) else Guess.UNKNOWN


def _takes_events(app: type[Any]) -> bool:
    """Say whether objects of the class are called with (receive, send), not with a scope and not with an environ."""
    call = inspect.getattr_static(app, "__call__", None)
    # Counted with `self`.
    if not isinstance(call, types.FunctionType) or not can_take(call, 3) or can_take(call, 4):
        return False
    return inspect.iscoroutinefunction(call) or list(inspect.signature(call).parameters)[1:] == ["receive", "send"]


def _required(app: Callable[..., Any]) -> int:
    """Count the positional parameters that `app` cannot be called without; -1 where nobody can know."""
    signature = _signature(app)
    if signature is None:
        return -1
    return sum(each.kind in _POSITIONAL and each.default is each.empty for each in signature.parameters.values())


def _guess_signature(app: Callable[..., Any]) -> Guess:
    """Judge a plain callable by its positional parameters: their number, and their names where the number is open."""
    signature = _signature(app)
    if signature is None:
        return Guess.UNKNOWN
    names = [each.name.lstrip("_") for each in signature.parameters.values() if each.kind in _POSITIONAL]
    takes_two, takes_three = can_take(app, 2), can_take(app, 3)
    if takes_two and takes_three:
        if names[:3] == list(_ASGI_NAMES):
            return Guess.ASGI
        if names and names[0] in _WSGI_NAMES:
            return Guess.WSGI
        return {2: Guess.WSGI, 3: Guess.ASGI}.get(_required(app), Guess.UNKNOWN)
    if takes_two:
        # (receive, send) is the second half of a double callable, no application.
        return Guess.UNKNOWN if names[:2] == ["receive", "send"] else Guess.WSGI
    if takes_three:
        return Guess.ASGI
    if can_take(app, 1) and names[:1] == ["scope"]:
        return Guess.ASGI2
    return Guess.FACTORY if can_take(app, 0) else Guess.UNKNOWN


def _wrapped(app: Any) -> list[object]:
    """List callables that `app` may be a wrapper of: those in its closure and in the attributes usual for it."""
    if isinstance(app, partial):
        return [app.func]
    found = [getattr(app, name, None) for name in _WRAPPED_NAMES]
    for cell in getattr(app, "__closure__", None) or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # the variable was never set
            continue
    return [each for each in found if callable(each) and each is not app]
