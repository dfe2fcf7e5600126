"""The laws of the curves, and what key agreement makes of certificates and points that are wrong."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chf.crypto.binary_curve import SECT163K1, SECT283K1, InvalidPointError, Point
from chf.crypto.ecmqv import Ephemeral, agree, shared_secret
from chf.crypto.ecqv import Certificate, CertificateAuthority, CertificateError, Suite
from chf.errors import MalformedError

CURVES = (SECT163K1, SECT283K1)
HUB, DEVICE, ISSUER = 0x00DB_1234_5678_90A2, 0x00DB_1234_5678_90A4, 0x00DB_0000_0000_00CA
few = settings(max_examples=12, deadline=None, derandomize=True)
many = settings(max_examples=150, deadline=None, derandomize=True)

curves = st.sampled_from(CURVES)
suites = st.sampled_from(Suite)
randoms = st.integers(min_value=1 << 400, max_value=(1 << 401) - 1)


@st.composite
def points(draw):
    """A curve, and as many of its points as are wanted, infinity and (0, 1) among them."""
    curve = draw(curves)
    scalars = draw(st.tuples(*3 * [st.one_of(st.integers(0, 4), st.integers(0, curve.order))]))
    low_order = Point(0, 1)
    return curve, [
        curve.add(curve.multiply(scalar, curve.generator), draw(st.sampled_from((None, low_order))))
        for scalar in scalars
    ]


@few
@given(points())
def test_addition_is_a_commutative_group(drawn):
    curve, (a, b, c) = drawn
    assert curve.add(a, b) == curve.add(b, a)
    assert curve.add(curve.add(a, b), c) == curve.add(a, curve.add(b, c))
    assert curve.add(a, None) == a
    assert curve.add(a, curve.negate(a)) is None
    total = curve.add(a, b)
    assert total is None or curve.contains(total)


@few
@given(points(), st.integers(0, 50), st.integers(0, 1 << 290))
def test_multiplication_is_repeated_addition(drawn, small, large):
    curve, (a, *_) = drawn
    total = None
    for _ in range(small):
        total = curve.add(total, a)
    assert curve.multiply(small, a) == total
    assert curve.add(curve.multiply(large, a), a) == curve.multiply(large + 1, a)
    assert curve.multiply(curve.cofactor * curve.order, a) is None


@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: curve.name)
def test_the_base_point_has_the_order_of_the_curve(curve):
    assert curve.contains(curve.generator)
    assert curve.multiply(curve.order, curve.generator) is None
    assert curve.multiply(curve.order - 1, curve.generator) == curve.negate(curve.generator)
    assert curve.multiply(curve.order + 1, curve.generator) == curve.generator


@many
@given(curves, st.data())
def test_the_field_inverts_and_packs(curve, data):
    field = curve.field
    packed = data.draw(st.integers(1, (1 << field.bits) - 1))
    element = field.spread(packed)
    assert field.pack(element) == packed
    assert field.multiply(element, field.invert(element)) == 1
    assert field.pack(field.square(element)) == field._square_packed(packed)


@few
@given(curves, st.integers(1, 1 << 280))
def test_a_point_survives_compression(curve, scalar):
    point = curve.multiply(scalar % (curve.order - 1) + 1, curve.generator)
    octets = curve.compress(point)
    assert curve.decompress(octets) == point
    assert curve.decompress(bytes((octets[0] ^ 1,)) + octets[1:]) == curve.negate(point)


@many
@given(curves, st.data())
def test_any_octets_are_a_point_of_the_curve_or_refused(curve, data):
    lengths = st.sampled_from((0, 1, curve.point_octets - 1, curve.point_octets, curve.point_octets + 1))
    octets = data.draw(lengths.flatmap(lambda length: st.binary(min_size=length, max_size=length)))
    if octets:
        octets = bytes((data.draw(st.sampled_from((0, 2, 3, 4))),)) + octets[1:]
    try:
        point = curve.decompress(octets)
    except InvalidPointError:
        return
    assert curve.contains(point)
    assert curve.compress(point) == octets


@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: curve.name)
def test_infinity_and_the_point_of_order_two_are_refused(curve):
    zeros = bytes(curve.point_octets - 1)
    for octets in (b"", b"\0", b"\0" + zeros, b"\2" + zeros, b"\3" + zeros, b"\2" + b"\xff" * len(zeros)):
        with pytest.raises(InvalidPointError):
            curve.decompress(octets)


def issued(suite, random=(1 << 400) + 7):
    ca = CertificateAuthority.generate(suite, ISSUER, random)
    return tuple(ca.issue(subject, random + subject, random * 3 + subject) for subject in (HUB, DEVICE))


@few
@given(suites, randoms, st.integers(1, 1 << 160), st.integers(1, 1 << 160))
def test_both_sides_of_our_own_certificates_agree(suite, random, one, other):
    hub, device = issued(suite, random)
    assert hub.fit_together()
    ours, theirs = Ephemeral.from_scalar(suite.curve, one), Ephemeral.from_scalar(suite.curve, other)
    responder = agree(hub, ours, device.certificate, theirs.public_key, initiator=False)
    assert agree(device, theirs, hub.certificate, ours.public_key, initiator=True) == responder
    other_time = agree(
        hub, Ephemeral.from_scalar(suite.curve, one + 1), device.certificate, theirs.public_key, initiator=False
    )
    assert other_time.link_key != responder.link_key


@pytest.mark.parametrize("suite", Suite)
def test_a_zero_ephemeral_key_is_refused(suite):
    for zero in (0, suite.curve.order):
        with pytest.raises(InvalidPointError):
            Ephemeral.from_scalar(suite.curve, zero)


@pytest.mark.parametrize("suite", Suite)
def test_a_secret_at_infinity_is_refused(suite):
    """A peer that picks E' = -avf(E') * Q' + (a point of low order) would know the secret without a private key."""
    curve = suite.curve
    ephemeral = Ephemeral.from_scalar(curve, 1234567)
    low_order = Point(0, 1)
    with pytest.raises(InvalidPointError):
        shared_secret(curve, 99, ephemeral, low_order, low_order)


@pytest.mark.parametrize("suite", Suite)
def test_a_certificate_of_another_authority_makes_another_key(suite):
    hub, _ = issued(suite)
    _, stranger = issued(suite, (1 << 400) + 8)
    one, other = Ephemeral.from_scalar(suite.curve, 11), Ephemeral.from_scalar(suite.curve, 12)
    ours = agree(hub, one, stranger.certificate, other.public_key, initiator=False)
    theirs = agree(stranger, other, hub.certificate, one.public_key, initiator=True)
    assert ours.mac_u != theirs.mac_u
    assert ours.link_key != theirs.link_key


@many
@given(suites, st.binary(min_size=0, max_size=80))
def test_any_octets_are_a_certificate_or_refused(suite, octets):
    try:
        certificate = Certificate.from_bytes(suite, octets)
    except CertificateError:
        return
    assert certificate.octets == octets
    try:
        certificate.public_key(suite.curve.generator)
    except MalformedError:
        return


def test_what_a_suite_2_certificate_may_not_say_is_refused():
    octets = issued(Suite.TWO)[1].certificate.octets
    for offset, value in ((0, 1), (9, 0x04), (10, 0x04), (36, 0x80)):
        with pytest.raises(CertificateError):
            Certificate.from_bytes(Suite.TWO, octets[:offset] + bytes((value,)) + octets[offset + 1 :])


def test_a_suite_2_certificate_is_valid_within_its_time():
    ca = CertificateAuthority.generate(Suite.TWO, ISSUER, 1 << 400)
    certificate = ca.issue(DEVICE, 1 << 400, 1 << 401, valid_from=1000, valid_seconds=50).certificate
    assert [certificate.is_valid_at(utc) for utc in (999, 1000, 1050, 1051)] == [False, True, True, False]
    assert ca.issue(DEVICE, 1 << 400, 1 << 401).certificate.is_valid_at(1e12)


def test_no_private_key_is_in_a_repr():
    hub, _ = issued(Suite.TWO)
    ca = CertificateAuthority.generate(Suite.TWO, ISSUER, 1 << 400)
    said = repr((hub, ca, Ephemeral.from_scalar(SECT283K1, 4242424242)))
    for secret in (hub.private_key, ca.private_key, 4242424242):
        assert str(secret) not in said
        assert f"{secret:x}" not in said
