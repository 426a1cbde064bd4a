"""Finding and importing applications: every form of target, and the message when it fails."""

import sys
import textwrap

import pytest

from trilithon.foundation.errors import LoadError
from trilithon.worker.loader import explain, load

WSGI = "def {name}(environ, start_response): pass\n"
ASGI = "async def {name}(scope, receive, send): pass\n"


@pytest.fixture
def project(tmp_path):
    """Write files into a directory of their own; what is imported from it is forgotten afterwards."""
    path, modules = list(sys.path), set(sys.modules)

    def write(**files):
        for name, text in files.items():
            file = tmp_path / (name.replace("__", "/") + ".py")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text))
        return str(tmp_path)

    yield write
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def package(root, name):
    """Make a directory a package."""
    directory = root / name
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "__init__.py").touch()
    return directory


def test_module_and_attribute(project):
    loaded = load("site_one:app", app_dir=project(site_one=WSGI.format(name="app")))

    assert (loaded.app.__name__, loaded.interface, loaded.target) == ("app", "wsgi", "site_one:app")


def test_a_dotted_attribute(project):
    directory = project(site_two="class Box: pass\nbox = Box()\n" + ASGI.format(name="it") + "box.api = it\n")

    assert load("site_two:box.api", app_dir=directory).interface == "asgi"


def test_a_dotted_module(project, tmp_path):
    package(tmp_path, "shop")
    project(shop__api="from . import parts\n" + ASGI.format(name="app"), shop__parts="")

    assert load("shop.api:app", app_dir=str(tmp_path)).target == "shop.api:app"


@pytest.mark.parametrize("name", ["app", "application"])
def test_a_module_alone_finds_the_usual_names(project, name):
    loaded = load("site_three", app_dir=project(site_three=WSGI.format(name=name)))

    assert loaded.target == f"site_three:{name}"


def test_a_module_alone_prefers_app(project):
    names = ("create_app", "application", "app")
    directory = project(site_four="".join(WSGI.format(name=name) for name in names))

    assert load("site_four", app_dir=directory).target == "site_four:app"


def test_a_module_alone_finds_and_calls_create_app(project):
    directory = project(site_five=WSGI.format(name="it") + "def create_app(): return it\n")

    loaded = load("site_five", app_dir=directory)

    assert (loaded.app.__name__, loaded.target) == ("it", "site_five:create_app")


def test_a_submodule_called_app_is_not_the_application(project, tmp_path):
    root = package(tmp_path, "pack_one")
    (root / "__init__.py").write_text("from . import app\n" + WSGI.format(name="application"))
    project(pack_one__app="")

    assert load("pack_one", app_dir=str(tmp_path)).target == "pack_one:application"


def test_a_factory(project):
    directory = project(site_six=ASGI.format(name="it") + "def make(): return it\n")

    assert load("site_six:make", factory=True, app_dir=directory).interface == "asgi"


def test_the_flag_for_factories_makes_a_module_alone_look_for_create_app(project):
    directory = project(site_seven=WSGI.format(name="app") + "def create_app(): return app\n")

    assert load("site_seven", factory=True, app_dir=directory).target == "site_seven:create_app"


@pytest.mark.parametrize("suffix", ["", ":app"])
def test_a_file(project, tmp_path, suffix):
    project(deep__site_eight="import neighbour_one\n" + WSGI.format(name="app"), deep__neighbour_one="")

    assert load(f"{tmp_path}/deep/site_eight.py{suffix}").target == "site_eight:app"


def test_a_file_relative_to_the_application_directory(project):
    directory = project(deep__site_nine=WSGI.format(name="app"))

    assert load("deep/site_nine.py", app_dir=directory).interface == "wsgi"


def test_a_file_inside_a_package_is_imported_under_its_full_name(project, tmp_path):
    package(tmp_path / "src", "outer")
    package(tmp_path / "src" / "outer", "inner")
    project(src__outer__inner__main="from ..parts import it as app\n", src__outer__parts=WSGI.format(name="it"))

    assert load(f"{tmp_path}/src/outer/inner/main.py").target == "outer.inner.main:app"


def test_a_file_with_the_name_of_a_loaded_module_does_not_replace_it(project, tmp_path):
    import json

    project(json="import json as other\n" + WSGI.format(name="app"))

    loaded = load(f"{tmp_path}/json.py")

    assert loaded.app.__name__ == "app"
    assert sys.modules["json"] is json


def test_a_file_whose_name_is_no_identifier(project, tmp_path):
    (tmp_path / "my-site.py").write_text(WSGI.format(name="app"))
    project()

    assert load(f"{tmp_path}/my-site.py").interface == "wsgi"


def test_a_file_twice_is_imported_once(project, tmp_path):
    project(site_ten=WSGI.format(name="app"))

    assert load(f"{tmp_path}/site_ten.py").app is load(f"{tmp_path}/site_ten.py:app").app


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("wrong_one:ap", "module 'wrong_one' has no 'ap'; did you mean app?"),
        ("wrong_one:zzz", "type wrong_one:app"),
        ("wrong_one:app.deeper", "a function app(environ, start_response) has no 'deeper'"),
        ("wrong_one:make()", "type wrong_one:make --factory"),
        ("wrong_one:make", "add --factory"),
        ("wrong_one:number", "is an int object, which cannot be called"),
        ("wrong_one:sys", "is a module"),
        ("wrong_two", "type wrong_two:site"),
        ("wrong_three", "type wrong_three:NAME"),
        ("wrong_on:app", "there is no module 'wrong_on' in"),
        ("wrong_on:app", "did you mean wrong_one?"),
        ("zzzz", "type --app-dir DIRECTORY"),
        ("wrong_one.app:x", "type wrong_one:app"),
        ("wrong_pack.mian", "there is no module 'wrong_pack.mian' in the package wrong_pack; did you mean main?"),
        ("wrong_pack", "type wrong_pack.main"),
        ("wrong_on.py", "there is no file wrong_on.py; did you mean wrong_one.py?"),
        ("nowhere/site.py", "there is no file nowhere/site.py"),
        ("wrong_pack/", "is a directory; type one of its files"),
        ("./notes.txt", "is no Python file"),
        ("a b:c", "neither a dotted module name nor a .py file"),
        (":app", "names no module"),
        ("", "names no module"),
    ],
)
def test_what_cannot_be_found_says_what_is_there_and_what_to_type(project, tmp_path, target, message):
    root = package(tmp_path, "wrong_pack")
    (root / "main.py").write_text(WSGI.format(name="app"))
    (tmp_path / "notes.txt").touch()
    directory = project(
        wrong_one=WSGI.format(name="app") + "import sys\nnumber = 3\ndef make(): return app\n",
        wrong_two=WSGI.format(name="site"),
        wrong_three="x = 1\n",
    )
    target = f"{directory}/{target}" if target.startswith("wrong_pack/") or "notes" in target else target

    with pytest.raises(LoadError) as caught:
        load(target, app_dir=directory)

    assert message in str(caught.value)
    assert caught.value.__cause__ is None
    assert explain(caught.value) == f"trilithon: {caught.value}"


def test_an_application_directory_that_is_none(tmp_path):
    with pytest.raises(LoadError, match="type --app-dir DIRECTORY"):
        load("site:app", app_dir=str(tmp_path / "missing"))


@pytest.mark.parametrize(
    ("text", "kind", "line"),
    [
        ("import not_there_at_all\n", "ModuleNotFoundError", "import not_there_at_all"),
        ("from sys import not_there\n", "ImportError", "from sys import not_there"),
        ("def f():\n    return 1 / 0\nf()\n", "ZeroDivisionError", "return 1 / 0"),
        ("def f(:\n", "SyntaxError", "def f(:"),
        ("import sys\nsys.exit(3)\n", "SystemExit", "sys.exit(3)"),
        ("try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise ValueError('x') from e\n", "ValueError", "1 / 0"),
    ],
)
@pytest.mark.parametrize("as_file", [False, True])
def test_an_error_inside_shows_the_applications_own_frames_and_no_other(project, tmp_path, text, kind, line, as_file):
    directory = project(broken_one="import broken_two\n", broken_two=text)
    target = f"{tmp_path}/broken_one.py" if as_file else "broken_one:app"

    with pytest.raises(LoadError) as caught:
        load(target, app_dir=directory)

    written = explain(caught.value)
    assert f'File "{tmp_path}/broken_two.py"' in written
    assert kind in written and line in written
    assert f'File "{tmp_path}/broken_one.py", line 1' in written
    frames = [each for each in written.splitlines() if each.startswith("  File ")]
    assert not [each for each in frames if "importlib" in each or "trilithon/" in each]
    assert written.splitlines()[-1].startswith(f"trilithon: application = {target!r}: importing it ")


def test_a_broken_file_may_be_mended_and_loaded(project, tmp_path):
    project(mended_one="1 / 0\n")
    with pytest.raises(LoadError):
        load(f"{tmp_path}/mended_one.py")
    project(mended_one="# mended\n" + WSGI.format(name="app"))

    assert load(f"{tmp_path}/mended_one.py").interface == "wsgi"


def test_an_error_in_the_factory_shows_the_factorys_frames(project, tmp_path):
    directory = project(maker_one="def create_app():\n    return {}['missing']\n")

    with pytest.raises(LoadError) as caught:
        load("maker_one", app_dir=directory)

    written = explain(caught.value)
    assert f'File "{tmp_path}/maker_one.py", line 2, in create_app' in written
    assert "trilithon/worker" not in written
    assert "calling it raised KeyError: 'missing'" in written


def test_a_module_that_raises_what_is_no_error_ends_the_load(project):
    directory = project(interrupted="raise KeyboardInterrupt\n")

    with pytest.raises(KeyboardInterrupt):
        load("interrupted", app_dir=directory)


def test_proxies_in_a_module_are_not_looked_into(project):
    directory = project(lazy="from flask import request, Flask\nsite = Flask(__name__)\n")

    with pytest.raises(LoadError, match="type lazy:site"):
        load("lazy", app_dir=directory)
