"""Scalar multiplication on the two binary curves by libcrypto, through ctypes: what C makes of the same arithmetic."""

import ctypes
import ctypes.util


class OpenSslCurve:
    """Raises OSError where there is no libcrypto that knows the curve. Points are octets, compressed or not."""

    def __init__(self, name: str, coordinate_octets: int) -> None:
        path = ctypes.util.find_library("crypto")
        if path is None:
            raise OSError("no libcrypto")
        self._library = library = ctypes.CDLL(path)
        pointer = ctypes.c_void_p
        for function in ("EC_GROUP_new_by_curve_name", "EC_POINT_new", "BN_new", "BN_bin2bn", "BN_CTX_new"):
            getattr(library, function).restype = pointer
        library.EC_POINT_point2oct.restype = ctypes.c_size_t
        self._group = pointer(library.EC_GROUP_new_by_curve_name(library.OBJ_txt2nid(name.encode())))
        if not self._group:
            raise OSError(f"libcrypto has no {name}")
        self._context, self._scalar = pointer(library.BN_CTX_new()), pointer(library.BN_new())
        self._point, self._product = (pointer(library.EC_POINT_new(self._group)) for _ in range(2))
        self._octets = ctypes.create_string_buffer(1 + 2 * coordinate_octets)

    def take(self, scalar: int, point: bytes) -> None:
        """What `multiply` is to multiply. Raises ValueError for what is no point of the curve."""
        octets = scalar.to_bytes((scalar.bit_length() + 7) // 8, "big")
        self._library.BN_bin2bn(octets, len(octets), self._scalar)
        size = ctypes.c_size_t(len(point))
        if self._library.EC_POINT_oct2point(self._group, self._point, point, size, self._context) != 1:
            raise ValueError("not a point of the curve")

    def multiply(self) -> None:
        self._library.EC_POINT_mul(self._group, self._product, None, self._point, self._scalar, self._context)

    def product(self) -> bytes:
        """Uncompressed; one zero octet is the point at infinity."""
        size, uncompressed = ctypes.c_size_t(len(self._octets)), 4
        used = self._library.EC_POINT_point2oct(
            self._group, self._product, uncompressed, self._octets, size, self._context
        )
        return self._octets.raw[:used]
