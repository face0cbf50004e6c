"""Where requests go, and where they must not go."""

from urllib.parse import unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from bulk_eraser.elevate.endpoints import (
    ApiVersion,
    JobKind,
    Target,
    encode_key,
    is_host,
    loopback_target,
)
from bulk_eraser.errors import BulkEraserError, ConfigurationError, UsageError

CALL = "/event-data/create-remove-customer-job?customerKey="


@pytest.mark.parametrize(
    ("version", "base"),
    [
        ("v2", "https://w1234.api.esales.apptus.cloud/api/v2"),
        ("v3", "https://w1234.elevate-api.cloud/api/admin/v3"),
        ("v4", "https://w1234.elevate-api.cloud/api/admin/v4"),
    ],
)
def test_the_bases_of_a_cluster(version: str, base: str) -> None:
    """Each version of a cluster has the base that the vendor documents."""
    target = Target.of_cluster("w1234")
    assert target.base_of(ApiVersion(version)) == base
    assert target.creation_url(ApiVersion(version), JobKind.REMOVAL) == base + CALL
    assert not target.is_loopback


@pytest.mark.parametrize(
    ("version", "path"), [("v2", "/api/v2"), ("v3", "/api/admin/v3"), ("v4", "/api/admin/v4")]
)
@pytest.mark.parametrize(
    "base", ["https://gateway.example.com", "https://gateway.example.com:8443/elevate"]
)
def test_the_bases_of_a_base_url(base: str, version: str, path: str) -> None:
    """A base URL takes the place of everything before /api/, in each version, path and all."""
    for given_url in (base, base + "/"):
        target = Target.of_base_url(given_url)
        assert target.base_of(ApiVersion(version)) == base + path
        assert target.creation_url(ApiVersion(version), JobKind.REMOVAL) == base + path + CALL


@pytest.mark.parametrize("cluster_id", ["a", "w1234ABC", "A-b", "x" * 63, "1"])
def test_a_cluster_id(cluster_id: str) -> None:
    """A cluster is known by its id in small letters, however it was typed."""
    assert Target.of_cluster(cluster_id).name == cluster_id.lower()


@pytest.mark.parametrize(
    "cluster_id",
    [
        "",
        " ",
        "a.b",
        "a/b",
        "a@b",
        "a:1",
        "-a",
        "a-",
        "a b",
        "a\n",
        "é",
        "x" * 64,
        "a#",
        "a?b",
        "%61",
    ],
)
def test_what_is_no_cluster_id(cluster_id: str) -> None:
    """What is no label of a host name is refused, so that it can lead to no other host."""
    with pytest.raises(UsageError):
        Target.of_cluster(cluster_id)


@pytest.mark.parametrize(
    ("base_url", "name", "base"),
    [
        ("https://gateway.example.com", "https://gateway.example.com", None),
        ("https://gateway.example.com/", "https://gateway.example.com", None),
        ("HTTPS://Gateway.Example.COM:443//", "https://gateway.example.com", None),
        ("https://gateway.example.com:", "https://gateway.example.com", None),
        ("https://gateway.example.com?", "https://gateway.example.com", None),
        ("https://gateway.example.com#", "https://gateway.example.com", None),
        ("https://gateway.example.com./x", "https://gateway.example.com.", "/x"),
        ("https://gateway.example.com:8443/a/b/", "https://gateway.example.com:8443", "/a/b"),
        ("https://gateway.example.com/a/../b", "https://gateway.example.com", "/b"),
        ("https://gateway.example.com/%2F", "https://gateway.example.com", "/%2F"),
        ("https://gateway.example.com/é", "https://gateway.example.com", "/%C3%A9"),
        ("https://bücher.example", "https://xn--bcher-kva.example", None),
        ("https://10.0.0.7", "https://10.0.0.7", None),
        ("https://[2001:db8::7]:8443", "https://[2001:db8::7]:8443", None),
        ("https://my_gateway", "https://my_gateway", None),
    ],
)
def test_a_base_url(base_url: str, name: str, base: str | None) -> None:
    """A base URL is known by its origin, and its path stays without a slash at the end."""
    target = Target.of_base_url(base_url)
    assert (target.name, target.base) == (name, name + (base or ""))
    assert not target.is_loopback


LOOPBACK = [
    "http://127.0.0.1",
    "http://127.0.0.1:8080",
    "http://127.0.0.1:8080/",
    "http://127.9.8.7:1",
    "http://127.255.255.254",
    "http://[::1]",
    "http://[::1]:8080/x",
    "http://[0:0:0:0:0:0:0:1]",
    "http://localhost",
    "http://LOCALHOST:99",
    "https://localhost:8443",
    "https://127.0.0.1",
    "http://１２７.0.0.1",
    "http://127。0。0。1",
]


@pytest.mark.parametrize("base_url", LOOPBACK)
def test_plain_http_to_loopback(base_url: str) -> None:
    """Plain http is allowed to this computer, in each form of its address."""
    target = Target.of_base_url(base_url)
    assert target.is_loopback
    host = URL(target.creation_url(ApiVersion.V4, JobKind.REMOVAL)).raw_host or ""
    assert host in ("localhost", "::1") or host.startswith("127.")


@pytest.mark.parametrize(
    "base_url",
    [
        "http://gateway.example.com",
        "http://127.0.0.1.evil.com",
        "http://localhost.evil.com",
        "http://localhost.",
        "http://localhostevil",
        "http://evil-localhost",
        "http://0x7f.1",
        "http://0x7f000001",
        "http://127.1",
        "http://127.0.1",
        "http://0177.0.0.1",
        "http://2130706433",
        "http://127.0.0.1%2eevil.com",
        "http://127.0.0.1%00.evil.com",
        "http://localhost%20",
        "http://0.0.0.0",
        "http://[::]",
        "http://[::2]",
        "http://128.0.0.1",
        "http://126.255.255.255",
        "http://10.0.0.1",
        "http://169.254.169.254",
        "http://evil.com:127",
        "http://evil.com/127.0.0.1",
        "http://evil.com/@127.0.0.1",
        "http://lоcalhost",  # noqa: RUF100 - with a Cyrillic letter
    ],
)
def test_plain_http_to_another_host(base_url: str) -> None:
    """Plain http to any other host is refused, however much it looks like loopback."""
    with pytest.raises(ConfigurationError):
        Target.of_base_url(base_url)


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "localhost",
        "127.0.0.1:80",
        "//127.0.0.1",
        "http:127.0.0.1",
        "http:/127.0.0.1",
        "http:///127.0.0.1",
        "ftp://127.0.0.1",
        "file:///etc/passwd",
        "https://",
        "https://:443",
        "https:///x",
        "https://gateway.example.com?x=1",
        "https://gateway.example.com/x?y",
        "https://gateway.example.com#f",
        "http://localhost@evil.com",
        "http://localhost:80@evil.com",
        "http://evil.com@localhost",
        "http://127.0.0.1\\@evil.com",
        "http://127.0.0.1\\.evil.com",
        "http://evil.com\\@127.0.0.1",
        "http://evil.com#@127.0.0.1",
        "https://user@gateway.example.com",
        "https://user:hunter2@gateway.example.com",
        "https://:hunter2@gateway.example.com",
        "https://:@gateway.example.com",
        "https://gateway.example.com:99999",
        "https://gateway.example.com:abc",
        "https://gateway.example.com:-1",
        "https://[::1",
        "http://[::1]@",
        "https://[::1]@/x",
        "http://[::1%25lo]",
        "https://gateway.example.com ",
        " https://gateway.example.com",
        "https://gate way.example.com",
        "https://gateway.example.com/a b",
        "https://gateway.example.com\r\nX: y",
        "https://gateway.example.com/\r\nX: y",
        "https://gateway\t.example.com",
        "https://gateway.example.com/\0",
        "https://gateway.example.com/\udc80",
        "https://a..b",
        "https://.",
        "https://%41.example.com",
        "https://127.1",
        "https://0x7f.1",
        "https://2130706433",
        "https://" + "a" * 64 + ".example.com",
    ],
)
def test_what_is_no_base_url(base_url: str) -> None:
    """User names, queries, fragments and what leads to no host are refused, and not repeated."""
    with pytest.raises(UsageError) as refused:
        Target.of_base_url(base_url)
    assert "hunter2" not in str(refused.value)


@given(
    st.sampled_from(["http://", "https://", "http:/", "HTTP://"]),
    st.lists(
        st.sampled_from(["127.0.0.1", "localhost", "evil.com", "[::1]", "::1", "0x7f", "1"])
        | st.sampled_from([".", "@", ":", "/", "\\", "#", "?", "%", "%2e", "%40", "0", " ", "\t"])
        | st.characters(codec="utf-8"),
        max_size=6,
    ).map("".join),
)
def test_plain_http_never_leaves_this_computer(scheme: str, rest: str) -> None:
    """Whatever base URL is let through, plain http goes to this computer's own addresses only."""
    try:
        target = Target.of_base_url(scheme + rest)
    except BulkEraserError:
        return
    url = URL(target.creation_url(ApiVersion.V4, JobKind.REMOVAL) + encode_key("a&b"), encoded=True)
    host = url.raw_host or ""
    assert url.scheme == "https" or host in ("localhost", "::1") or host.startswith("127.")
    assert url.raw_user is None
    assert url.raw_query_string == "customerKey=a%26b"
    assert is_host(host)


@pytest.mark.parametrize(
    ("host", "is_one"),
    [
        ("example.com", True),
        ("example.com.", True),
        ("a", True),
        ("7.example", True),
        ("10.0.0.1", True),
        ("2001:db8::1", True),
        ("", False),
        (".", False),
        ("a..b", False),
        ("127.1", False),
        ("1.2.3.4.", False),
        ("0x7f000001", False),
        ("fe80::1%eth0", False),
        ("a b", False),
        ("é.example", False),
        ("example.com\n", False),
    ],
)
def test_what_is_a_host(host: str, is_one: bool) -> None:
    """A host is a DNS name, or an IP address as it is usually written."""
    assert is_host(host) == is_one


def test_the_target_of_a_rehearsal() -> None:
    """The embedded simulator's target has a name of its own, and is this computer."""
    target = loopback_target("http://127.0.0.1:8080", "rehearsal")
    assert (target.name, target.is_loopback) == ("rehearsal", True)
    assert target.base_of(ApiVersion.V4) == "http://127.0.0.1:8080/api/admin/v4"


def test_every_character_travels_as_itself():
    """Whatever stands between letters that need no escape is the same for who decodes a query,
    also where a plus is a blank."""
    for char in [*map(chr, range(1, 256)), "\u20ac", "\U0001f600"]:
        key = f"a{char}b"
        assert unquote_plus(encode_key(key)) == key
        assert not set(encode_key(key)) & set("&=#?/+ ;")


@given(st.text(st.characters(codec="utf-8")))
def test_a_key_is_encoded_once(key: str) -> None:
    """A key travels as unreserved characters and escapes, and decoding once gives it back."""
    url = URL(f"http://127.0.0.1/x?customerKey={encode_key(key)}", encoded=True)
    assert url.raw_query_string == f"customerKey={encode_key(key)}"
    assert set(encode_key(key)) <= set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%"
    )
    assert list(url.query.items()) == [("customerKey", key)]
