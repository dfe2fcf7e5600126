"""The Basic cluster (0x0000), server side: what the hub says of itself.

Read-only and minimal; the hub reads other devices' Basic cluster with `attributes.ReadAttributes`.
"""

from chf.zcl.attributes import DataType, Value, answer_read

CLUSTER = 0x0000  # ZCL8 3.2

ZCL_VERSION = 0x0000  # ZCL8 3.2
HARDWARE_VERSION = 0x0003  # ZCL8 3.2
MANUFACTURER_NAME = 0x0004  # ZCL8 3.2
MODEL_IDENTIFIER = 0x0005  # ZCL8 3.2
POWER_SOURCE = 0x0007  # ZCL8 3.2
PHYSICAL_ENVIRONMENT = 0x0011  # ZCL8 3.2; GBCS 10.2.2

_ZCL_8 = 0x08  # ZCLVersion of ZCL8
_MAINS = 0x01  # PowerSource: mains, single phase, ZCL8 3.2
_ENVIRONMENT_OF_A_HUB = 0x01  # required of a Communications Hub by GBCS 10.2.2


def attributes(manufacturer: str = "chf", model: str = "bench") -> dict[int, Value]:
    return {
        ZCL_VERSION: Value(DataType.UINT8, _ZCL_8),
        MANUFACTURER_NAME: Value(DataType.CHARACTER_STRING, manufacturer.encode()),
        MODEL_IDENTIFIER: Value(DataType.CHARACTER_STRING, model.encode()),
        POWER_SOURCE: Value(DataType.ENUM8, _MAINS),
        PHYSICAL_ENVIRONMENT: Value(DataType.ENUM8, _ENVIRONMENT_OF_A_HUB),
    }


def answer(octets: bytes) -> bytes | None:
    """The ZCL frame that answers `octets` on this cluster, or None where nothing is to be said. Never raises."""
    return answer_read(attributes(), octets)
