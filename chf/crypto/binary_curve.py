"""The two binary curves of Smart Energy (SEC 2: sect163k1 and sect283k1), on Python integers.

**For a bench only: nothing here runs in constant time.** Whoever can measure the program learns about its private keys.

A field element is kept *spread*: one coefficient of the polynomial in every `stride` bits of an integer. The product of
two elements as plain integers is then the product of the polynomials, as long as no sum of coefficients overflows its
stride, and one AND takes every coefficient modulo 2: CPython's big-integer multiplication does the carry-less one.
Inversion and half-trace go through the *packed* form, one coefficient a bit, where shifts are short. Callers see
scalars as integers and points as octets or as `Point`; what is in a `Point` is this module's business.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from chf.errors import MalformedError


class InvalidPointError(MalformedError):
    """Octets that are no point of the curve, or the point at infinity where a proper one is due."""


@dataclass(frozen=True, slots=True)
class Point:
    """An affine point, coordinates in spread form. The point at infinity is None."""

    x: int
    y: int


class BinaryField:
    """GF(2^m) with f(z) = z^m + z^t1 + z^t2 + z^t3 + 1 on spread integers; addition is `^`, one is 1."""

    def __init__(self, bits: int, middle_terms: tuple[int, int, int], stride: int) -> None:
        assert bits < 1 << stride, "a sum of coefficients would overflow its stride"
        assert max(middle_terms) < bits // 2, "reduction in two folds wants low middle terms"
        self.bits: Final = bits
        self.octets: Final = (bits + 7) // 8
        self.multiply: Final[Callable[[int, int], int]] = _multiplication(bits, middle_terms, stride)
        self._middle_terms = middle_terms
        self._polynomial = 1 << bits | sum(1 << term for term in middle_terms) | 1
        # A coefficient is a whole number of digits: two hexadecimal ones of 8 bits, three octal ones of 9.
        self._digits, self._base, self._format = {8: (2, 16, "x"), 9: (3, 8, "o")}[stride]

    def spread(self, packed: int) -> int:
        zeros = "0" * (self._digits - 1)
        return int(zeros.join(("", *format(packed, "b"))), self._base)

    def pack(self, element: int) -> int:
        return int(format(element, self._format)[:: -self._digits][::-1], 2)

    def square(self, element: int) -> int:
        return self.multiply(element, element)

    def invert(self, element: int) -> int:
        """By the extended Euclidean algorithm for polynomials. `element` is not zero."""
        assert element, "zero has no inverse"
        u, v, g, h = self.pack(element), self._polynomial, 1, 0
        while u != 1:
            shift = u.bit_length() - v.bit_length()
            if shift < 0:
                u, v, g, h, shift = v, u, h, g, -shift
            u ^= v << shift
            g ^= h << shift
        return self.spread(g)

    def half_trace(self, element: int) -> int:
        """A solution z of z^2 + z = element, where there is one (SEC 1 2.3.4; m is odd)."""
        square = self._square_packed
        power = total = self.pack(element)
        for _ in range((self.bits - 1) // 2):
            power = square(square(power))
            total ^= power
        return self.spread(total)

    def _square_packed(self, packed: int) -> int:
        """The coefficients with a zero between any two, reduced: the binary digits read as quaternary ones."""
        value = int(format(packed, "b"), 4)
        for _ in range(2):
            high = value >> self.bits
            value ^= high << self.bits ^ high
            for term in self._middle_terms:
                value ^= high << term
        return value


def _multiplication(bits: int, middle_terms: tuple[int, int, int], stride: int) -> Callable[[int, int], int]:
    coefficients = sum(1 << (stride * place) for place in range(2 * bits))
    top = stride * bits
    low_half = (1 << top) - 1
    first, second, third = (stride * term for term in middle_terms)

    def multiply(left: int, right: int) -> int:
        product = (left * right) & coefficients
        high = product >> top
        product = (product & low_half) ^ high ^ (high << first) ^ (high << second) ^ (high << third)
        high = product >> top
        return (product & low_half) ^ high ^ (high << first) ^ (high << second) ^ (high << third)

    return multiply


class BinaryCurve:
    """The Koblitz curve y^2 + xy = x^3 + a x^2 + 1 with its base point, order and cofactor."""

    def __init__(self, name: str, field: BinaryField, *, a: int, order: int, cofactor: int, generator: str) -> None:
        self.name: Final = name
        self.field: Final = field
        self.a: Final = a
        self.order: Final = order
        self.cofactor: Final = cofactor
        self.point_octets: Final = 1 + field.octets
        self.scalar_octets: Final = field.octets
        self.generator: Final = self.decompress(bytes.fromhex(generator))

    def __repr__(self) -> str:
        return f"BinaryCurve({self.name})"

    def decompress(self, octets: bytes) -> Point:
        """02 or 03, then x (SEC 1 2.3.4).

        Raises InvalidPointError for infinity, wrong lengths, points off the curve and the point of order two.
        """
        field = self.field
        if len(octets) != self.point_octets or octets[0] not in {2, 3}:
            raise InvalidPointError(f"not a compressed point of {self.name}", offset=0)
        value = int.from_bytes(octets[1:], "big")
        if value >> field.bits:
            raise InvalidPointError(f"x is no element of the field of {self.name}", offset=1)
        if value == 0:
            raise InvalidPointError(f"the point of {self.name} with x = 0 has order two", offset=1)
        x = field.spread(value)
        constant = x ^ self.a ^ field.square(field.invert(x))
        ratio = field.half_trace(constant)
        if field.square(ratio) ^ ratio != constant:
            raise InvalidPointError(f"no point of {self.name} has this x", offset=1)
        return Point(x, field.multiply(x, ratio ^ ((ratio ^ octets[0]) & 1)))

    def compress(self, point: Point) -> bytes:
        sign = self.field.multiply(point.y, self.field.invert(point.x)) & 1 if point.x else 0
        return bytes((2 | sign,)) + self.x_octets(point)

    def x_number(self, point: Point) -> int:
        """The x-coordinate as SEC 1 2.3.9 makes a number of it."""
        return self.field.pack(point.x)

    def x_octets(self, point: Point) -> bytes:
        return self.x_number(point).to_bytes(self.field.octets, "big")

    def contains(self, point: Point) -> bool:
        field, x, y = self.field, point.x, point.y
        square = field.square(x)
        return field.square(y) ^ field.multiply(x, y) == field.multiply(square, x ^ self.a) ^ 1

    def negate(self, point: Point | None) -> Point | None:
        return None if point is None else Point(point.x, point.x ^ point.y)

    def add(self, left: Point | None, right: Point | None) -> Point | None:
        if left is None:
            return right
        if right is None:
            return left
        multiply, square = self.field.multiply, self.field.square
        if left.x == right.x:
            if left.y != right.y or not left.x:
                return None
            slope = left.x ^ multiply(left.y, self.field.invert(left.x))
            x = square(slope) ^ slope ^ self.a
            return Point(x, square(left.x) ^ multiply(slope ^ 1, x))
        slope = multiply(left.y ^ right.y, self.field.invert(left.x ^ right.x))
        x = square(slope) ^ slope ^ left.x ^ right.x ^ self.a
        return Point(x, multiply(slope, left.x ^ x) ^ x ^ left.y)

    def multiply(self, scalar: int, point: Point | None) -> Point | None:
        """The multiple of a point, by the Lopez-Dahab ladder on x alone; y is recovered at the end. `scalar` >= 0."""
        assert scalar >= 0
        if point is None or scalar == 0:
            return None
        if not point.x:
            return point if scalar & 1 else None
        multiply = self.field.multiply
        x = point.x
        x1, z1 = x, 1
        z2 = multiply(x, x)
        x2 = multiply(z2, z2) ^ 1
        for bit in format(scalar, "b")[1:]:
            cross1, cross2 = multiply(x1, z2), multiply(x2, z1)
            root = cross1 ^ cross2
            z_sum = multiply(root, root)
            x_sum = multiply(x, z_sum) ^ multiply(cross1, cross2)
            if bit == "1":
                product, total = multiply(x2, z2), x2 ^ z2
                x1, z1 = x_sum, z_sum
                total = multiply(total, total)
                x2, z2 = multiply(total, total), multiply(product, product)
            else:
                product, total = multiply(x1, z1), x1 ^ z1
                x2, z2 = x_sum, z_sum
                total = multiply(total, total)
                x1, z1 = multiply(total, total), multiply(product, product)
        return self._recover(point, x1, z1, x2, z2)

    def _recover(self, point: Point, x1: int, z1: int, x2: int, z2: int) -> Point | None:
        """The affine k*P from the ladder's k*P and (k+1)*P (Lopez and Dahab 1999, section 4)."""
        if not z1:
            return None
        if not z2:
            return Point(point.x, point.x ^ point.y)
        multiply = self.field.multiply
        x, y = point.x, point.y
        both = multiply(z1, z2)
        inverse = self.field.invert(multiply(x, both))
        x3 = multiply(x1, multiply(inverse, multiply(x, z2)))
        left = multiply(x1 ^ multiply(x, z1), x2 ^ multiply(x, z2))
        right = multiply(multiply(x, x) ^ y, both)
        return Point(x3, multiply(multiply(x ^ x3, left ^ right), inverse) ^ y)


# SEC 2 version 1, 3.2.1 and 3.5.1
SECT163K1: Final = BinaryCurve(
    "sect163k1",
    BinaryField(163, (7, 6, 3), stride=8),
    a=1,
    order=0x04000000000000000000020108A2E0CC0D99F8A5EF,
    cofactor=2,
    generator="0302FE13C0537BBC11ACAA07D793DE4E6D5E5C94EEE8",
)
SECT283K1: Final = BinaryCurve(
    "sect283k1",
    BinaryField(283, (12, 7, 5), stride=9),
    a=0,
    order=0x01FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFE9AE2ED07577265DFF7F94451E061E163C61,
    cofactor=4,
    generator="020503213F78CA44883F1A3B8162F188E553CD265F23C1567A16876913B0C2AC2458492836",
)
