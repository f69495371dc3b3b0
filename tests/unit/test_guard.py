"""Which addresses are the public internet's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from bindery.errors import BinderyError, HostRefused
from bindery.settings import ProviderSettings
from builder import refs
from builder.guard import Guard, GuardedClient, is_global
from builder.providers import providers


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1"]
    + ["255.255.255.255", "192.0.2.1", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "2001:db8::1"]
    + ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:4136:e378::1"],
)
def test_these_are_not(address: str) -> None:
    assert not is_global(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "140.82.121.4", "2606:50c0:8000::154", "::ffff:8.8.8.8"])
def test_these_are(address: str) -> None:
    assert is_global(address)


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]"])
async def test_link_local_addresses_are_refused_even_where_private_ones_are_not(host: str) -> None:
    guard = Guard(allow_private=True, timeout_seconds=1)
    with pytest.raises(HostRefused):
        await guard.endpoint(URL(f"http://{host}/o/r"))
    assert (await guard.endpoint(URL("http://127.0.0.1:1/o/r"))).addresses == ("127.0.0.1",)


_KNOWN = providers(ProviderSettings(), GuardedClient(Guard(allow_private=False, timeout_seconds=1)))


@given(st.sampled_from(["gh", "git"]), st.text(max_size=200))
def test_any_text_is_a_spec_or_a_clear_error(provider: str, spec: str) -> None:
    try:
        parsed = _KNOWN[provider].parse(spec)
    except BinderyError as error:
        assert error.message
        assert error.hint
    else:
        assert parsed.repo_url.startswith(("https://", "http://"))
        assert not parsed.ref.startswith("-")
        assert "@" not in parsed.repo_url.split("/")[2]


@given(st.text(max_size=60))
def test_a_ref_that_passes_is_one_word_of_git(ref: str) -> None:
    try:
        checked = refs.check(ref)
    except BinderyError:
        return
    assert checked == ref
    assert not ref.startswith("-")
    assert not any(character in ref for character in " \n\0~^:?*[\\")
    assert ".." not in ref
