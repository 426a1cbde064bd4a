"""The options about proxies: what they default to, what they take, and what does not fit together."""

import pytest

from trilithon.foundation.errors import ConfigError
from trilithon.foundation.options import BY_NAME, Options


@pytest.mark.spec("H-FWD-01", "H-FWD-08")
def test_nothing_is_believed_by_default():
    options = Options()
    assert (options.forwarded, options.proxy_protocol) == ("none", "off")
    assert not options.forwarded_host and not options.forwarded_prefix
    trusted = options.trusted()
    assert trusted.trusts(("127.0.0.1", 1)) and trusted.trusts(("::1", 1)) and trusted.trusts(None)
    assert not trusted.trusts(("192.0.2.7", 1)) and not trusted.everybody


@pytest.mark.spec("H-LIM-07", "H-PP-02")
def test_the_time_for_a_header_is_bounded():
    assert 3 <= Options().proxy_timeout_s <= 5
    with pytest.raises(ConfigError, match="proxy_timeout_s"):
        Options(proxy_timeout_s=0)


def test_the_flag_adds_one_proxy_at_a_time():
    assert BY_NAME["trusted_proxies"].flag == "--trusted-proxy"
    assert BY_NAME["trusted_proxies"].parse("10.0.0.0/8, unix") == ["10.0.0.0/8", "unix"]
    options = Options(trusted_proxies=["10.0.0.0/8", "unix"])
    assert options.trusted().trusts(("10.1.2.3", 1)) and not options.trusted().trusts(("127.0.0.1", 1))


@pytest.mark.spec("H-FWD-01")
def test_everybody_has_to_be_named_outright():
    assert Options(trusted_proxies=["*"]).trusted().everybody


@pytest.mark.parametrize("text", ["localhost", "10.0.0.1/8", "unix:/x", ""])
def test_proxies_that_are_none_are_refused(text):
    with pytest.raises(ConfigError, match="trusted_proxies"):
        Options(trusted_proxies=[text])


@pytest.mark.parametrize(
    ("options", "named", "remedy"),
    [
        ({"trusted_proxies": [], "proxy_protocol": "v1"}, "proxy_protocol", "trusted_proxies"),
        ({"trusted_proxies": [], "forwarded": "forwarded"}, "forwarded", "trusted_proxies"),
        ({"forwarded_host": True}, "forwarded_host", "needs forwarded"),
        ({"forwarded_prefix": True}, "forwarded_prefix", "x-forwarded"),
        ({"forwarded_prefix": True, "forwarded": "forwarded"}, "forwarded_prefix", "RFC 7239 knows no prefix"),
        ({"forwarded": "x_forwarded"}, "forwarded", "did you mean x-forwarded"),
        ({"proxy_protocol": "v3"}, "proxy_protocol", "off, v1, v2, any"),
        ({"proxy_protocol": True}, "proxy_protocol", "off, v1, v2, any"),
    ],
)
def test_what_does_not_fit_together_is_refused(options, named, remedy):
    with pytest.raises(ConfigError) as caught:
        Options(**options)
    assert caught.value.option == named
    assert remedy in caught.value.remedy


def test_what_fits_together_is_taken():
    Options(trusted_proxies=[])
    Options(forwarded="forwarded", forwarded_host=True)
    Options(forwarded="x-forwarded", forwarded_host=True, forwarded_prefix=True, proxy_protocol="any")
