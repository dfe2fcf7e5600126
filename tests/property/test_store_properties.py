"""Whatever a row can hold comes back from the store as it was, also after it was closed and opened again."""

from dataclasses import astuple, fields, replace

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from chf.clock import UtcSeconds
from chf.eui64 import Eui64
from chf.image.header import ImageType
from chf.image.image import ImageId
from chf.store import DeviceEntry, DeviceStatus, DeviceType, NewAlert, Store
from chf.update import model
from chf.update.eligibility import DeviceImage

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
u8, u16, u32 = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
eui64s = st.integers(0, 2**64 - 1).map(Eui64)
utc = st.floats(0, 2e11).map(UtcSeconds)
octets = st.binary(max_size=200)
activations = st.one_of(
    st.just(model.ActivateNow()),
    st.just(model.ActivateByCommand()),
    st.builds(model.ActivateHold, st.sampled_from(model.Strategy)),
    st.builds(model.ActivateAt, utc, st.sampled_from(model.Strategy), st.sampled_from(model.TimeForm)),
)
records = st.builds(
    model.TransferRecord,
    st.sampled_from(model.TransferState),
    activations,
    *(st.none() | u8, st.booleans(), u32, u32, st.booleans(), u8),
    *(st.booleans(), st.booleans(), st.booleans(), st.none() | utc),
    *(st.none() | utc, st.booleans(), u8),
)
image_types = st.builds(ImageType, u16, u16)
updates = st.builds(
    model.Update,
    id=st.just(model.UpdateId(1)),
    device=eui64s,
    image=st.just(ImageId("ab" * 32)),
    file_version=u32,
    activation=activations,
    origin=text,
    created=utc,
    deadline=utc,
    changed=utc,
    state=st.sampled_from(model.UpdateState),
    reason=text,
    version_before=st.none() | u32,
    version_seen=st.none() | u32,
    transfer=st.none() | st.sampled_from(model.TransferOutcome),
    report=st.none() | st.builds(model.ActivationReport, st.booleans(), u32),
    waiting_for=st.none() | st.sampled_from(model.WaitReason),
    waiting_until=st.none() | utc,
    activation_at=st.none() | utc,
    download_started=st.none() | utc,
    download_ended=st.none() | utc,
    ended=st.none() | utc,
    record=st.none() | records,
    image_type=st.none() | image_types,
    doubt=text,
    successor=st.none() | image_types,
)
device_images = st.builds(DeviceImage, image_types, utc, st.none() | u32, st.none() | u16)
devices = st.builds(
    DeviceEntry,
    eui64=eui64s,
    device_type=st.sampled_from(DeviceType),
    added=utc,
    install_code_link_key=st.none() | st.binary(min_size=16, max_size=16),
    status=st.sampled_from(DeviceStatus),
    network_address=st.none() | u16,
    endpoint=st.none() | u8,
    last_seen=st.none() | utc,
    refused_frames=u32,
    images=st.lists(device_images, max_size=3, unique_by=lambda image: image.image_type).map(
        lambda images: tuple(sorted(images, key=lambda image: astuple(image.image_type)))
    ),
)
alerts = st.builds(
    NewAlert,
    msg_id=text.filter(bool),
    device=eui64s,
    use_case=text,
    alert_code=u16,
    outcome=text,
    message=octets,
    verified=st.booleans(),
    created=utc,
    update=st.none() | st.integers(0, 2**62),
)
profile = settings(derandomize=True, max_examples=100, deadline=None)


class UndoError(Exception):
    """Leaves the store as it was before the example."""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with Store.open(tmp_path_factory.mktemp("store")) as opened:
        yield opened


@profile
@given(first=updates, second=updates)
def test_a_row_holds_every_update(store, first, second):
    second = replace(second, device=first.device)
    with pytest.raises(UndoError), store.transaction() as tx:  # noqa: PT012
        tx.updates.add(first)
        assert tx.updates.get(first.id) == first
        tx.updates.update(second)
        assert tx.updates.list() == (second,)
        assert tx.updates.list(active_only=True) == (() if second.state in model.ENDS else (second,))
        assert tx.updates.active_for(second.device) == (None if second.state in model.ENDS else second)
        raise UndoError
    assert store.updates.list() == ()


@profile
@given(first=devices, second=devices)
def test_a_device_row_holds_every_entry(store, first, second):
    second = replace(second, eui64=first.eui64)
    with pytest.raises(UndoError), store.transaction() as tx:  # noqa: PT012
        tx.devices.add(first)
        assert tx.devices.get(first.eui64) == first
        tx.devices.update(second)
        assert tx.devices.list() == (replace(second, images=first.images),)
        for image in second.images:
            tx.devices.note_image(first.eui64, image)
        for image in first.images:
            if second.image(image.image_type) is None:
                tx.devices.drop_image(first.eui64, image.image_type)
        assert tx.devices.list() == (tx.devices.get(first.eui64),) == (second,)
        raise UndoError


@profile
@given(st.lists(alerts, max_size=4))
def test_the_outbox_holds_each_message_id_once_and_unchanged(store, written):
    with pytest.raises(UndoError), store.transaction() as tx:  # noqa: PT012
        expected = {}
        for alert in written:
            assert tx.alerts.add(alert) is (alert.msg_id not in expected)
            expected.setdefault(alert.msg_id, alert)
        names = [field.name for field in fields(NewAlert)]
        kept = [NewAlert(**{name: getattr(row, name) for name in names}) for row in tx.alerts.list()]
        assert kept == list(expected.values())
        assert tx.alerts.undelivered() == tx.alerts.list()
        raise UndoError
