"""Whatever the DCC side says: valid against the schema, signed_document, and read back as it was meant, whatever the values."""

from datetime import UTC, datetime
from string import printable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chf import gbcs
from chf.dcc.signers import ResponseSigner
from chf.duis import RequestId, ResponseCode
from chf.duis.alerts import AlertDocument, CommsHubAlert, CspFirmwareDeliveryStatus, DeviceAlert, PpmidAlert
from chf.duis.document import parse_document
from chf.duis.envelope import FutureDatedDeviceAlert, GbcsResponse, PreCommand, ServiceResponse
from chf.duis.xml_signature import IssuerSerial, detach, verify
from chf.eui64 import Eui64
from chf.pki.certificates import Usage
from tests.support.dcc_bench import duis_schema, field, make_pki

PROFILE = settings(derandomize=True, deadline=None, max_examples=200)
LAST_S = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())
FIRST_S = int(datetime(1, 1, 1, tzinfo=UTC).timestamp())

ids = st.integers(0, 2**64 - 1).map(Eui64)
request_ids = st.builds(RequestId, ids, ids, st.integers(0, 2**64 - 1))
times = st.integers(FIRST_S, LAST_S)
versions = st.integers(0, 2**32 - 1)
payloads = st.binary(min_size=1, max_size=400)
awkward = st.text(
    st.sampled_from([c for c in printable if c.isprintable()] + list("<>&\"']]>")), min_size=1, max_size=30
)
contents = st.one_of(
    st.none(),
    st.builds(PreCommand, awkward, payloads),
    st.builds(GbcsResponse, payloads),
    st.builds(FutureDatedDeviceAlert, st.sampled_from([0x8F66, 0x8F67]), payloads),
)
responses = st.builds(
    ServiceResponse,
    request_ids,
    st.sampled_from(["8.11", "11.1", "11.2", "11.3", "11.4"]),
    st.sampled_from(ResponseCode),
    times,
    contents,
)
transfers = st.builds(
    gbcs.FirmwareTransferAlert,
    utc_s=times,
    other_entity=st.integers(0, 2**64 - 1),
    firmware_version=versions,
    response_code=st.sampled_from(gbcs.TransferResponseCode),
)
activations = st.builds(
    gbcs.PpmidFirmwareActivationAlert,
    utc_s=times,
    firmware_version=versions,
    result=st.sampled_from(gbcs.ActivateImageResultCode),
)
alerts = st.builds(
    AlertDocument,
    request_ids,
    times,
    st.one_of(
        st.builds(CspFirmwareDeliveryStatus, request_ids, ids, ids, versions, times, st.booleans()),
        st.builds(CommsHubAlert, ids, transfers, st.none() | request_ids),
        st.builds(PpmidAlert, ids, activations),
        st.builds(DeviceAlert, st.integers(0, 0xFFFF), payloads),
    ),
)


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return make_pki(tmp_path_factory.mktemp("pki"))


@PROFILE
@given(document=st.one_of(responses, alerts))
def test_whatever_is_said_is_valid_signed_document_and_keeps_its_texts(pki, document):
    signed_document = ResponseSigner(pki)(document.to_bytes())
    root = parse_document(signed_document)
    duis_schema().check_tree(root)
    signature = detach(root)
    acb = pki.certificate(pki.acb, Usage.DIGITAL_SIGNATURE)
    assert verify(root, signature, {IssuerSerial.of(acb): acb}.get) == acb
    if isinstance(document, ServiceResponse) and isinstance(document.content, PreCommand):
        assert field(signed_document, "GBCSVersion") == document.content.gbcs_version
