"""The option table and `Options`: validation at construction, derived groups, nothing missing."""

import dataclasses

import pytest

from trilithon.foundation.errors import ConfigError
from trilithon.foundation.limits import Buffers, Capacity, Limits, MessageLimits, Timeouts
from trilithon.foundation.option_row import Kind, suggestion
from trilithon.foundation.options import BY_NAME, TABLE, Options


def application(environ, start_response):
    """Stand for an application that a mount names as an object."""


def test_defaults_are_those_of_the_table():
    options = Options()

    assert {option.name: getattr(options, option.name) for option in TABLE} == {
        option.name: option.default for option in TABLE
    }


@pytest.mark.parametrize("group", [MessageLimits, Timeouts, Capacity, Buffers])
def test_every_limit_is_an_option_with_the_same_default(group):
    for field in dataclasses.fields(group):
        assert BY_NAME[field.name].default == field.default, field.name


def test_limits_carry_what_was_set_in_its_group():
    limits = Options(max_fields=7, write_timeout_s=1, max_connections=5, min_body_rate=0).limits()

    assert limits == Limits(
        message=MessageLimits(max_fields=7),
        timeouts=Timeouts(write_timeout_s=1.0),
        capacity=Capacity(max_connections=5),
        buffers=Buffers(min_body_rate=0),
    )
    assert isinstance(limits.timeouts.write_timeout_s, float)


def test_options_cannot_be_changed_and_lists_are_copied():
    binds = ["127.0.0.1:1"]
    options = Options(bind=binds)
    binds.append("127.0.0.1:2")

    assert options.bind == ("127.0.0.1:1",)
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.threads = 2


@pytest.mark.parametrize("option", TABLE, ids=lambda option: option.name)
def test_every_option_refuses_a_value_of_another_type(option):
    wrong = "on" if option.kind is Kind.SWITCH else object()

    with pytest.raises(ConfigError) as caught:
        Options(**{option.name: wrong})

    assert caught.value.option == option.name
    assert caught.value.remedy


@pytest.mark.parametrize("option", TABLE, ids=lambda option: option.name)
def test_every_option_has_prose_and_a_unit_in_its_name_or_row(option):
    assert option.prose.endswith(".")
    if option.kind in (Kind.COUNT, Kind.SIZE, Kind.SECONDS):
        assert option.unit


@pytest.mark.parametrize(
    ("values", "remedy"),
    [
        ({"threads": 0}, "1 or more"),
        ({"threads": True}, "whole number"),
        ({"threads": 1.5}, "whole number"),
        ({"threads": "8"}, "whole number"),
        ({"backlog": 0}, "1 or more"),
        ({"max_body_bytes": -1}, "0 means no limit"),
        ({"keep_alive_timeout_s": -1}, "0 or more"),
        ({"keep_alive_timeout_s": float("nan")}, "number of seconds"),
        ({"keep_alive_timeout_s": float("inf")}, "number of seconds"),
        ({"retry_after_s": 1.5}, "whole number of seconds"),
        ({"interface": "asgi3"}, "did you mean asgi"),
        ({"access_log": "jsn"}, "did you mean json"),
        ({"bind": "127.0.0.1:8000"}, "must be a list"),
        ({"bind": []}, "needs 1 or more"),
        ({"bind": ["127.0.0.1:80", "127.0.0.1:80"]}, "given twice"),
        ({"bind": ["unix:/run/a", "unix:/run/a"]}, "given twice"),
        ({"mounts": ["legacy=old:app"]}, "begins with /"),
        ({"mounts": ["/legacy"]}, "/PATH=TARGET"),
        ({"mounts": ["/legacy="]}, "no application"),
        ({"mounts": {"/legacy": None}}, "no application"),
        ({"mounts": ["/a=x:y", "/a/=z:y"]}, "mounted twice"),
        ({"mounts": ["/a//b=x:y"]}, "empty or dot segments"),
        ({"mounts": ["/a/../b=x:y"]}, "empty or dot segments"),
        ({"mounts": ["/a?b=x:y"]}, "begins with /"),
        ({"mounts": [("/a", application, 1)]}, "/PATH=TARGET"),
        ({"environ": ["SITE"]}, "KEY=VALUE"),
        ({"environ": ["HTTP_HOST=evil"]}, "a key is a name"),
        ({"environ": ["wsgi.url_scheme=https"]}, "a key is a name"),
        ({"environ": ["A B=1"]}, "a key is a name"),
        ({"environ": ["SITE=\u20ac"]}, "ISO 8859-1"),
        ({"environ": {"SITE": 1}}, "must be text"),
        ({"root_path": "shop"}, "begin with /"),
        ({"root_path": "/shop/"}, "not end with it"),
        ({"root_path": "/"}, "not end with it"),
        ({"server_header": "a\r\nX: y"}, "printable"),
        ({"server_header": " x"}, "printable"),
        ({"server_header": "\u20ac"}, "ISO 8859-1"),
        ({"app_dir": ""}, "must name a directory"),
        ({"write_low_water_bytes": 65536}, "below write_high_water_bytes"),
        ({"write_high_water_bytes": 2048}, "below write_high_water_bytes"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_remedy(values, remedy):
    with pytest.raises(ConfigError, match=remedy):
        Options(**values)


def test_the_same_free_port_may_be_asked_for_twice():
    assert len(Options(bind=["127.0.0.1:0", "127.0.0.1:0"]).addresses()) == 2


def test_an_unknown_name_is_refused_with_a_suggestion():
    with pytest.raises(ConfigError, match="did you mean threads"):
        Options.of({"thread": 4})


def test_mounts_take_texts_pairs_and_mappings():
    for mounts in (["/old/=old:app", ("/", application)], {"/old/": "old:app", "/": application}):
        assert Options(mounts=mounts).mount_table() == (("/old", "old:app"), ("/", application))


def test_a_mount_keeps_equal_signs_of_its_target():
    assert Options(mounts=["/a=x=y.py:app"]).mount_table() == (("/a", "x=y.py:app"),)


def test_environ_takes_texts_and_mappings():
    for environ in (["A=1", "B=x=y", "C="], {"A": "1", "B": "x=y", "C": ""}):
        assert Options(environ=environ).environ_table() == {"A": "1", "B": "x=y", "C": ""}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("max_body_bytes", "0", 0),
        ("max_body_bytes", "64K", 65536),
        ("max_body_bytes", "10MiB", 10 << 20),
        ("max_body_bytes", "1 GB", 1 << 30),
        ("max_body_bytes", "12B", 12),
        ("write_timeout_s", "2", 2.0),
        ("write_timeout_s", "1.5", 1.5),
        ("write_timeout_s", ".5s", 0.5),
        ("write_timeout_s", "250ms", 0.25),
        ("write_timeout_s", "5m", 300.0),
        ("write_timeout_s", "1h", 3600.0),
        ("threads", " 12 ", 12),
        ("factory", "Yes", True),
        ("factory", "off", False),
        ("bind", ":80, unix:/a", [":80", "unix:/a"]),
        ("environ", "A=1,2\nB=3\n", ["A=1,2", "B=3"]),
        ("server_header", "a, b", "a, b"),
    ],
)
def test_text_becomes_a_value(name, text, value):
    assert BY_NAME[name].parse(text) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("max_body_bytes", "64 cows"),
        ("max_body_bytes", "1.5M"),
        ("max_body_bytes", "-1"),
        ("workers", "-1"),
        ("workers", "129"),
        ("max_body_bytes", ""),
        ("write_timeout_s", "soon"),
        ("write_timeout_s", "1e3"),
        ("write_timeout_s", "nan"),
        ("write_timeout_s", ""),
        ("threads", "8.0"),
        ("threads", "0x8"),
        ("threads", "٣"),
        ("threads", ""),
        ("factory", "maybe"),
        ("factory", ""),
    ],
)
def test_text_that_is_no_value_is_refused_by_the_name_it_came_under(name, text):
    with pytest.raises(ConfigError) as caught:
        option = BY_NAME[name]
        option.check(option.parse(text, "TRILITHON_IT"), "TRILITHON_IT")

    assert caught.value.option == "TRILITHON_IT"


def test_names_of_flags_and_variables_are_derived_and_distinct():
    assert BY_NAME["graceful_timeout_s"].flag == "--graceful-timeout"
    assert BY_NAME["graceful_timeout_s"].env == "TRILITHON_GRACEFUL_TIMEOUT_S"
    assert BY_NAME["mounts"].flag == "--mount"
    assert len({option.flag for option in TABLE}) == len({option.env for option in TABLE}) == len(TABLE)


def test_a_suggestion_needs_nearness():
    assert suggestion("thread", BY_NAME) == "; did you mean threads?"
    assert suggestion("zzz", BY_NAME) == ""
