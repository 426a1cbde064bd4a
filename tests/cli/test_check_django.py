"""Django projects are loaded by their settings module."""

import pytest

pytestmark = [pytest.mark.real, pytest.mark.once]

SETTINGS = """
    SECRET_KEY = "only for this test"
    ROOT_URLCONF = "shop.urls"
    INSTALLED_APPS = []
    ALLOWED_HOSTS = ["*"]
"""
SERVED = """
    import os
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
    from django.core.{interface} import get_{interface}_application
    {name} = get_{interface}_application()
"""


@pytest.fixture
def project(write):
    """Write a project; `settings` is added to its settings."""

    def write_project(settings=""):
        write(
            {
                "shop/__init__.py": "",
                "shop/urls.py": "urlpatterns = []\n",
                "shop/settings.py": SETTINGS + settings,
                "shop/asgi.py": SERVED.format(interface="asgi", name="application"),
                "shop/wsgi.py": SERVED.format(interface="wsgi", name="application"),
            }
        )

    return write_project


WSGI = '    WSGI_APPLICATION = "shop.wsgi.application"\n'
ASGI = '    ASGI_APPLICATION = "shop.asgi.application"\n'


@pytest.mark.parametrize("target", ["shop.settings", "shop/settings.py"])
@pytest.mark.parametrize(
    ("settings", "arguments", "said"),
    [
        ("", [], "shop.settings: wsgi, a django.WSGIHandler object"),
        ("", ["--interface", "asgi"], "shop.settings: asgi, a django.ASGIHandler object"),
        (WSGI, [], "shop.wsgi:application: wsgi"),
        (WSGI + ASGI, [], "shop.asgi:application: asgi"),
        (WSGI + ASGI, ["--interface", "wsgi"], "shop.wsgi:application: wsgi"),
        (WSGI, ["--interface", "asgi"], "shop.settings: asgi, a django.ASGIHandler object"),
    ],
)
def test_the_settings_module_is_enough(command, project, target, settings, arguments, said):
    project(settings)

    done = command("check", target, *arguments)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(said)


def test_the_settings_module_that_was_named_wins_over_the_environment(command, project):
    project()

    done = command("check", "shop.settings", DJANGO_SETTINGS_MODULE="shop.elsewhere")

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("settings", "arguments", "message"),
    [
        ('    WSGI_APPLICATION = "shop.wsgy.application"\n', [], "did you mean wsgi?"),
        ('    WSGI_APPLICATION = "shop.wsgi.app"\n', [], "type shop.wsgi:application"),
        ('    WSGI_APPLICATION = "application"\n', [], "must be a dotted path"),
        ('    INSTALLED_APPS = ["missing_app"]\n', [], "No module named 'missing_app'"),
        ("", ["--interface", "asgi2"], "Django speaks asgi and wsgi"),
    ],
)
def test_what_is_wrong_with_the_project_is_said(command, project, settings, arguments, message):
    project(settings)

    done = command("check", "shop.settings", *arguments)

    assert message in done.stderr
    assert "trilithon/" not in done.stderr
    assert done.returncode == 3


def test_the_package_of_a_project_points_to_its_settings(command, project):
    project()

    done = command("check", "shop")

    assert "shop.settings" in done.stderr
    assert done.returncode == 3
