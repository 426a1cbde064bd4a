"""Interface detection: every shape of application, told without calling it."""

import functools

import flask
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette

from trilithon.foundation.errors import LoadError
from trilithon.worker.interface import Guess, describe, detect
from trilithon.worker.loader import load


def wsgi_function(environ, start_response):
    """A WSGI application."""


def wsgi_other_names(a, b):
    """A WSGI application by its two parameters."""


def wsgi_with_default(environ, start_response, exc_info=None):
    """Two required parameters and a third that reminds of ASGI's number."""


async def asgi_function(scope, receive, send):
    """An ASGI application."""


async def asgi_other_names(a, b, c):
    """An ASGI application by its three parameters."""


def asgi_by_returning(scope, receive, send):
    """A plain function that returns the awaitable."""
    return asgi_function(scope, receive, send)


def double_callable(scope):
    """The older ASGI as a function."""

    async def instance(receive, send):
        """Take the events."""

    return instance


class WsgiInstance:
    """An object with `__call__`."""

    def __call__(self, environ, start_response):
        """Answer."""


class WsgiClass:
    """A class whose object is the iterable."""

    def __init__(self, environ, start_response):
        self.environ = environ

    def __iter__(self):
        yield b""


class AsgiInstance:
    """An object with an async `__call__`."""

    async def __call__(self, scope, receive, send):
        """Answer."""


class AsgiAwaitedClass:
    """A class whose object is awaited, as Starlette's endpoints are."""

    def __init__(self, scope, receive, send):
        self.scope = scope

    def __await__(self):
        yield


class DoubleCallableClass:
    """The older ASGI as a class."""

    def __init__(self, scope):
        self.scope = scope

    async def __call__(self, receive, send):
        """Take the events."""


class SlotCall:
    """An object that carries its `__call__` in a slot, as a well-known middleware does."""

    __slots__ = ("__call__",)

    def __init__(self):
        self.__call__ = self._run

    async def _run(self, scope, receive, send):
        """Answer."""


class Methods:
    """Holds applications as methods of every kind."""

    async def asgi(self, scope, receive, send):
        """Answer."""

    def wsgi(self, environ, start_response):
        """Answer."""

    @classmethod
    async def class_asgi(cls, scope, receive, send):
        """Answer."""

    @staticmethod
    def static_wsgi(environ, start_response):
        """Answer."""


def wraps(function):
    """Wrap as decorators should."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


def hides(function):
    """Wrap as decorators should not: nothing of the wrapped function shows."""

    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


class OpenMiddleware:
    """A middleware that passes on whatever it is called with."""

    def __init__(self, app):
        self.app = app

    def __call__(self, *args, **kwargs):
        return self.app(*args, **kwargs)


class AsyncMiddleware:
    """An async middleware that passes on whatever it is called with."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, *args):
        await self.app(*args)


def wsgi_with_settings(settings, environ, start_response):
    """A WSGI application once a partial has filled in the settings."""


async def asgi_with_settings(settings, scope, receive, send):
    """An ASGI application once a partial has filled in the settings."""


def single_marked(*args):
    """Marked as asgiref marks."""


def double_marked(*args):
    """Marked as asgiref marks."""


single_marked._asgi_single_callable = True
double_marked._asgi_double_callable = True

WSGI = {
    "function": wsgi_function,
    "other names": wsgi_other_names,
    "third parameter with a default": wsgi_with_default,
    "instance": WsgiInstance(),
    "class": WsgiClass,
    "method": Methods().wsgi,
    "static method": Methods.static_wsgi,
    "wrapped": wraps(wsgi_function),
    "wrapped twice": wraps(wraps(wsgi_function)),
    "hidden": hides(wsgi_function),
    "hidden twice": hides(hides(WsgiInstance())),
    "middleware": OpenMiddleware(OpenMiddleware(wsgi_function)),
    "partial": functools.partial(wsgi_with_settings, {}),
    "partial by keyword": functools.partial(wsgi_with_default, exc_info=None),
    "lambda": lambda environ, start_response: [],
    "flask": flask.Flask(__name__),
    "flask middleware attribute": flask.Flask(__name__).wsgi_app,
}
ASGI = {
    "function": asgi_function,
    "other names": asgi_other_names,
    "plain function": asgi_by_returning,
    "instance": AsgiInstance(),
    "awaited class": AsgiAwaitedClass,
    "slot": SlotCall(),
    "method": Methods().asgi,
    "class method": Methods.class_asgi,
    "wrapped": wraps(asgi_function),
    "hidden": hides(asgi_function),
    "middleware": OpenMiddleware(AsgiInstance()),
    "async middleware": AsyncMiddleware(asgi_function),
    "partial": functools.partial(asgi_with_settings, {}),
    "partial of an instance": functools.partial(AsgiInstance()),
    "marked": single_marked,
    "starlette": Starlette(),
    "fastapi": FastAPI(),
}
ASGI2 = {
    "function": double_callable,
    "class": DoubleCallableClass,
    "wrapped": wraps(double_callable),
    "marked": double_marked,
}


@pytest.mark.parametrize("app", WSGI.values(), ids=WSGI)
def test_wsgi_applications_are_told(app):
    assert load(app).interface == "wsgi"


@pytest.mark.parametrize("app", ASGI.values(), ids=ASGI)
def test_asgi_applications_are_told(app):
    assert load(app).interface == "asgi"


@pytest.mark.spec("A-CORE-02")
@pytest.mark.parametrize("app", ASGI2.values(), ids=ASGI2)
def test_double_callables_are_told(app):
    assert load(app).interface == "asgi2"


def no_arguments():
    """A factory rather than an application."""
    return wsgi_function


def view(request):
    """A function that is no application."""


async def async_view(request):
    """A coroutine function that is no application."""


async def async_factory():
    """A factory that nobody can call before there is a loop."""


def open_ended(*args, **kwargs):
    """Nothing to be told from."""


async def second_half(receive, send):
    """The second half of a double callable."""


class Dashboard:
    """An object that holds its application in an attribute, and cannot be called."""

    server = flask.Flask(__name__)


@pytest.mark.spec("A-CORE-02")
@pytest.mark.parametrize(
    ("app", "remedy"),
    [
        (no_arguments, "add --factory"),
        (view, "--interface wsgi, asgi or asgi2"),
        (async_view, r"coroutine function async_view\(request\)"),
        (open_ended, "--interface wsgi, asgi or asgi2"),
        (second_half, r"second_half\(receive, send\)"),
        (flask.Flask, "make an object of it"),
        (FastAPI, "make an object of it"),
        (AsgiInstance, "make an object of it"),
        (42, "an int object, which cannot be called"),
        (None, "cannot be called"),
        (Dashboard(), r"its server is an application"),
        (functools, "is a module"),
    ],
)
def test_what_is_no_application_is_refused_with_what_was_found_and_what_to_type(app, remedy):
    with pytest.raises(LoadError, match=remedy):
        load(app)


@pytest.mark.parametrize(
    ("app", "interface"),
    [(open_ended, "wsgi"), (open_ended, "asgi"), (view, "asgi2"), (asgi_by_returning, "asgi"), (WsgiClass, "wsgi")],
)
def test_the_interface_can_be_said_where_nothing_can_be_told(app, interface):
    assert load(app, interface=interface).interface == interface


@pytest.mark.spec("A-CORE-02")
@pytest.mark.parametrize(
    ("app", "interface", "remedy"),
    [
        (asgi_function, "wsgi", "--interface asgi"),
        (FastAPI(), "wsgi", "--interface asgi"),
        (AsyncMiddleware(asgi_function), "wsgi", "--interface asgi"),
        (flask.Flask(__name__), "asgi", "--interface wsgi"),
        (wsgi_function, "asgi", r"cannot be called with \(scope, receive, send\)"),
        (wsgi_function, "asgi2", r"cannot be called with \(scope\)"),
        (asgi_function, "asgi2", r"cannot be called with \(scope\)"),
        (42, "wsgi", "cannot be called"),
    ],
)
def test_an_interface_that_cannot_be_is_refused(app, interface, remedy):
    with pytest.raises(LoadError, match=remedy):
        load(app, interface=interface)


def test_a_factory_object_is_called_and_its_result_judged():
    assert load(no_arguments, factory=True).app is wsgi_function


@pytest.mark.parametrize(
    ("factory", "remedy"),
    [
        (async_factory, "must be a plain function"),
        (asgi_function, "leave --factory out"),
        (view, "a factory takes no arguments"),
        (42, "no factory"),
        (lambda: 42, "an int object"),
    ],
)
def test_a_factory_that_cannot_be_one_is_refused(factory, remedy):
    with pytest.raises(LoadError, match=remedy):
        load(factory, factory=True)


def test_detection_never_calls_the_application():
    def trap(environ, start_response):
        raise AssertionError("called")

    assert detect(trap).guess is Guess.WSGI
    assert detect(hides(trap)).guess is Guess.WSGI


def test_what_holds_itself_ends():
    middleware = OpenMiddleware(None)
    middleware.app = middleware
    other = OpenMiddleware(OpenMiddleware(None))
    other.app.app = other

    assert detect(middleware).guess is detect(other).guess is Guess.UNKNOWN


def test_descriptions_leave_annotations_out():
    def annotated(environ: dict[str, str], start_response: object) -> list[bytes]:
        return []

    assert describe(annotated) == "a function annotated(environ, start_response)"
    assert describe(FastAPI()) == "a fastapi.FastAPI object, called with (scope, receive, send)"
    assert describe(3.5) == "a float object, which cannot be called"
