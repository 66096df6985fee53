"""Addresses: what prints parses, what does not exist is refused, upstream is an order."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from hooks.errors import SiteMissing, SpecError
from hooks.sites import SITES, Part, Site


@st.composite
def sites(draw):
    name = draw(st.sampled_from(sorted(SITES)))
    layer = draw(st.integers(0, 99)) if SITES[name].scope == "layer" else None
    return Site(name, layer, draw(st.sampled_from(["decoder", "encoder"])))


@st.composite
def parts(draw):
    site = draw(sites())
    place = st.integers(0, 999) | st.sampled_from(["last", "subject", "s2"]) | st.just((2, 5))
    fields = {axis: draw(place) for axis in ("pos", "q_pos", "k_pos") if axis in site.axes and draw(st.booleans())}
    if site.kind.head_axis and draw(st.booleans()):
        fields["head"] = draw(st.integers(0, 63))
    return Part(site, **fields)


@given(sites())
def test_a_site_prints_as_text_that_parses_to_it(site):
    assert Site.parse(str(site)) == site


@given(parts())
def test_a_part_prints_as_text_that_parses_to_it_and_travels_in_json(part):
    assert Part.parse(str(part)) == part
    adapter = TypeAdapter(Part)
    assert adapter.validate_json(adapter.dump_json(part)) == part


@given(st.lists(sites(), min_size=2, max_size=6))
def test_sites_are_totally_ordered(some):
    ordered = sorted(some)
    for first, second in pairwise(ordered):
        assert first == second or first < second
        assert not second < first


def test_upstream_is_smaller():
    order = [
        "embed",
        "L0.resid_pre",
        "L0.z",
        "L0.attn_out",
        "L0.resid_mid",
        "L0.resid_post",
        "L1.q",
        "ln_final",
        "logits",
    ]
    assert [str(site) for site in sorted(map(Site.parse, reversed(order)))] == order


@pytest.mark.parametrize(
    "text", ["", "z", "L1", "L1.", "Lx.z", "embed.L1", "L1.embed", "L-1.z", "L1.z[head=]", "L1.z[head"]
)
def test_what_is_not_an_address_is_refused_with_a_hint(text):
    with pytest.raises((SpecError, SiteMissing)) as caught:
        Part.parse(text)
    assert caught.value.hint or caught.value.message


def test_an_unknown_name_suggests_near_ones():
    with pytest.raises(SiteMissing, match="unknown site 'resid_prw'") as caught:
        Site.parse("L0.resid_prw")
    assert "resid_pre" in caught.value.hint


@pytest.mark.parametrize("text", ["L0.resid_pre[head=1]", "L0.pattern[pos=1]", "L0.pattern[unit=1]", "L0.z[q_pos=0]"])
def test_a_slice_of_an_axis_that_the_site_lacks_is_refused(text):
    with pytest.raises(SpecError, match="has no"):
        Part.parse(text)
