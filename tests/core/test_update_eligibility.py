"""One function says who may be updated to what: every refusal, as hub, DCC side and CLI tell it."""

from dataclasses import replace

import pytest
from click.testing import CliRunner

from chf.cli.update import update as update_command
from chf.clock import UtcSeconds
from chf.dcc.intake import EVERY_CHECK, IntakePolicy, RefusalList, decide
from chf.dcc.inventory import StoreInventory
from chf.dcc.products import Product, ProductList, ProductStatus
from chf.dcc.smi import SmiDevice
from chf.duis import RequestId, ServiceReference, UpdateFirmwareRequest
from chf.eui64 import Eui64, format_eui64
from chf.image.header import HardwareVersions, OtaHeader
from chf.image.image import ImageKind, parse_image
from chf.store import Store
from chf.store.device_log import DeviceEntry, DeviceStatus, DeviceType
from chf.store.images import record_of
from chf.store.inbox import Verb
from chf.trace import Kind
from chf.update import model
from chf.update.eligibility import (
    COMMANDED,
    HUB_ENFORCES,
    UPDATABLE,
    Candidate,
    Check,
    InProgress,
    Order,
    activation_for,
    early_activation,
    judge,
)
from chf.update.recognition import NOTHING_SHOWN, Traits, recognise
from tests.support.memory_radio import MemoryRadio, hub_on_desk
from tests.support.updates import runs

DEVICE, OTHER = Eui64(0x00DB1234567890A4), Eui64(0x00DB1234567890A5)
SUPPLIER, ACB = Eui64(0x90B3D51F30010000), Eui64(0x90B3D51F30000002)
SIGNED_TAIL = b"\0\x40" + bytes(range(64))
FORCED_TAIL = b"\1" + SIGNED_TAIL[1:]


def image(tail: bytes = b"", body: bytes = b"\xee" * 100, **changes):
    if "destination" in changes:
        body = b"\0\0" + len(body).to_bytes(4, "little") + body
    fields = {
        "manufacturer_code": 0x1234,
        "image_type": 1,
        "file_version": 2,
        "header_string": bytes(32),
        "hardware_versions": HardwareVersions(1, 4),
        "total_image_size": 0,
        **changes,
    }
    header = OtaHeader(**fields)
    whole = replace(header, total_image_size=header.length_bytes + len(body + tail)).to_bytes() + body + tail
    return parse_image(whole)


NOT_HELD = (
    "its OTA client, whose class is not known, cannot be relied upon to hold the image for so long:"
    " its last block is kept back instead"
)
ENTRY = DeviceEntry(DEVICE, DeviceType.PPMID, 0.0, status=DeviceStatus.JOINED, images=runs(1, 0x1234, hardware=2))
METER = replace(ENTRY, device_type=DeviceType.ESME)
NOT_APPLICABLE = RefusalList.NOT_APPLICABLE_FIRMWARE
IN_INVENTORY = SmiDevice(DEVICE, DeviceType.PPMID)

ROWS = [
    # check, what the device log has, the order, the DCC side's list, words; does the hub refuse, too?
    (Check.KNOWN, None, {}, RefusalList.INVALID_DEVICE_ID, "it is not in the device log"),
    (
        Check.DEVICE_TYPE,
        replace(ENTRY, device_type=DeviceType.IHD),
        {},
        RefusalList.INVALID_DEVICE_ID,
        "it is a stand-alone IHD, whose firmware is not updated over the network (SECMP0007)",
    ),
    (
        Check.METHOD,
        METER,
        {"tail": SIGNED_TAIL, "activation": model.ActivateHold()},
        NOT_APPLICABLE,
        "it is activated by its supplier's command CS06, at no time of the hub's",
    ),
    (
        Check.COMMISSIONED,
        replace(ENTRY, status=DeviceStatus.LEFT),
        {},
        RefusalList.NOT_COMMISSIONED,
        "it has not joined, or has left",
    ),
    (Check.IN_PROGRESS, ENTRY, {"busy": True}, RefusalList.OTHER_REQUEST_IN_PROGRESS, "it has update 1 in progress"),
    (
        Check.DESTINATION,
        ENTRY,
        {"destination": OTHER, "hardware_versions": None},
        NOT_APPLICABLE,
        "the image is for 00-DB-12-34-56-78-90-A5 only",
    ),
    (
        Check.MANUFACTURER,
        replace(ENTRY, images=runs(1, 0x9999)),
        {},
        NOT_APPLICABLE,
        "its manufacturer is 0x9999, the image's 0x1234",
    ),
    (
        Check.IMAGE_TYPE,
        replace(ENTRY, images=runs(1, 0x1234, 7)),
        {},
        NOT_APPLICABLE,
        "its image type is 0x0007, the image's 0x0001",
    ),
    (
        Check.HARDWARE_VERSION,
        replace(ENTRY, images=runs(1, 0x1234, hardware=9)),
        {},
        NOT_APPLICABLE,
        "its hardware version 0x0009 is not in 0x0001 to 0x0004",
    ),
    (
        Check.SAME_VERSION,
        replace(ENTRY, images=runs(2, 0x1234)),
        {},
        NOT_APPLICABLE,
        "it already runs version 0x00000002",
    ),
    (
        Check.DOWNGRADE,
        replace(ENTRY, images=runs(3, 0x1234)),
        {},
        NOT_APPLICABLE,
        "it runs version 0x00000003, newer than 0x00000002: a downgrade must be asked for",
    ),
    (Check.EARLY_ACTIVATION, ENTRY, {"activation": model.ActivateHold()}, NOT_APPLICABLE, NOT_HELD),
]
ROW_NAMES = [row[0].value for row in ROWS]


def scene(home, entry, order):
    """A store with the device, the image and, where it is wanted, an update under way; what is ordered."""
    order = dict(order)
    activation, busy = order.pop("activation", model.ActivateNow()), order.pop("busy", False)
    ordered = image(**order)
    store = Store.open(home, hub=True)
    with store.transaction() as tx:
        tx.devices.add(entry or replace(ENTRY, eui64=OTHER))
        tx.images.add(record_of(ordered, "new", 0.0), ordered.content)
        if busy:
            fields = {"activation": model.ActivateNow(), "origin": "cli", "version_before": 1, "now_utc": 4e9}
            update = model.accept(
                number=model.UpdateId(1),
                device=DEVICE,
                image=ordered.sha256,
                image_type=ordered.header.made_for,
                file_version=2,
                lifetime_s=1e6,
                **fields,
            )
            tx.updates.add(update)
    return store, ordered, activation


@pytest.mark.parametrize(("check", "entry", "order", "in_list", "words"), ROWS, ids=ROW_NAMES)
async def test_the_hub_refuses_a_command_for_it(tmp_path, check, entry, order, in_list, words):
    del in_list
    store, ordered, activation = scene(tmp_path, entry, order)
    body = {
        "devices": [format_eui64(DEVICE)],
        "image": ordered.sha256,
        "activation": model.activation_to_json(activation),
    }
    with store:
        with store.transaction() as tx:
            number = tx.inbox.submit(Verb.UPDATE_START, body, 0.0)
        async with hub_on_desk(store, MemoryRadio()) as desk:
            await desk.until(lambda: store.inbox.get(number).result is not None)
            answer = store.inbox.get(number).result
    if check in HUB_ENFORCES:
        assert answer == {
            "started": [],
            "refused": [{"device": format_eui64(DEVICE), "reason": f"{format_eui64(DEVICE)}: {words}"}],
        }
    else:
        assert (len(answer["started"]), answer["refused"]) == (1, [])


def asked(ordered) -> UpdateFirmwareRequest:
    signed = ordered.kind is ImageKind.GBCS_SIGNED
    reference = ServiceReference.UPDATE_FIRMWARE if signed else ServiceReference.UPDATE_PPMID_FIRMWARE
    return UpdateFirmwareRequest(reference, RequestId(SUPPLIER, ACB, 1), ordered.content, "2", (DEVICE,))


@pytest.mark.parametrize(("check", "entry", "order", "in_list", "words"), ROWS, ids=ROW_NAMES)
def test_the_dcc_side_refuses_it_in_a_list_or_notes_it(tmp_path, check, entry, order, in_list, words):
    store, ordered, activation = scene(tmp_path, entry, order)
    with store:
        strict = decide(
            asked(ordered), StoreInventory(store), IntakePolicy(enforced=EVERY_CHECK), activation=activation
        )
        (refusal,) = strict.refused
        assert (refusal.check, refusal.in_list, refusal.reason) == (check, in_list, words)
        lenient = IntakePolicy(enforced=EVERY_CHECK - {check})
        decision = decide(asked(ordered), StoreInventory(store), lenient, activation=activation)
        if check is Check.KNOWN:
            assert decision.refused == (refusal,), "there is nobody to send it to"
        else:
            assert f"{format_eui64(DEVICE)}: {words} (check {check.value} is not enforced)" in decision.notes


@pytest.mark.parametrize(("check", "entry", "order", "in_list", "words"), ROWS, ids=ROW_NAMES)
def test_the_cli_says_at_once_what_the_hub_will_refuse(tmp_path, check, entry, order, in_list, words):
    del in_list
    store, ordered, activation = scene(tmp_path, entry, order)
    store.close()
    arguments = ["start", "--home", str(tmp_path), "--device", format_eui64(DEVICE), "--image", ordered.sha256]
    ran = CliRunner().invoke(update_command, [*arguments, *(["--hold"] if activation == model.ActivateHold() else [])])
    if check is Check.KNOWN:
        assert "is not in the device log: `chf device add` it first" in str(ran.exception)
    else:
        assert ran.exit_code == 0
        told = f"as things stand the hub will refuse it for {format_eui64(DEVICE)}: {words}\n"
        assert (told in ran.output) is (check in HUB_ENFORCES)


# What only the DCC side knows of


def test_a_device_of_the_inventory_that_is_elsewhere_is_refused(tmp_path):
    store, ordered, _ = scene(tmp_path, None, {})
    with store:
        inventory = StoreInventory(store, {DEVICE: replace(IN_INVENTORY, status=None)})
        enforced = IntakePolicy(enforced=frozenset({Check.ON_HUB}))
        (refusal,) = decide(asked(ordered), inventory, enforced).refused
    assert (refusal.check, refusal.in_list) == (Check.ON_HUB, RefusalList.INVALID_DEVICE_ID)
    assert refusal.reason == "it is in the inventory, and not on this hub"


@pytest.mark.parametrize(
    ("version", "minimum", "refused"),
    [("4.1", "4.2", True), ("4.10", "4.2", False), ("4.2", "4.2", False), ("", "4.2", False), ("3.9", "", False)],
)
def test_a_device_of_an_older_gbcs_version_is_refused(version, minimum, refused):
    order = Order(image(), model.ActivateNow(), minimum_gbcs_version=minimum)
    verdict = judge(Candidate(DEVICE, "PPMID", commissioned=True, gbcs_version=version), order, frozenset(Check))
    found = verdict.refusal
    assert (found is not None) is refused
    assert found is None or found.reason == "its GBCS version is 4.1, at least 4.2 is wanted"


OURS, ANOTHER = runs(1, 0x1234), runs(7, 0x1234, 9)


@pytest.mark.parametrize(
    ("images", "inventory", "running"),
    [
        (OURS, None, 1),
        ((*OURS, *ANOTHER), None, 1),
        ((*ANOTHER, *OURS), 5, 1),
        (ANOTHER, None, None),
        (ANOTHER, 5, None),  # of which of them, the inventory does not say
        (runs(None, 0x1234), None, None),
        (runs(None, 0x1234), 5, 5),
        ((*runs(None, 0x1234), *ANOTHER), 5, None),
        ((), 5, 5),
        ((), None, None),
        (runs(7, 0x9999), 5, None),  # types are numbers of each manufacturer's own
    ],
)
def test_the_version_that_counts_is_that_of_the_images_type(images, inventory, running):
    device = Candidate(DEVICE, "PPMID", commissioned=True, images=images, file_version=inventory)
    assert device.running(image().header.made_for) == running
    for version, check in ((5, Check.SAME_VERSION), (4, Check.DOWNGRADE)):
        found = judge(device, Order(image(file_version=version), model.ActivateNow()), frozenset({check})).refusal
        assert (found is not None) is (running == 5)


def test_an_image_whose_version_means_unknown_is_refused():
    device = Candidate(DEVICE, "PPMID", commissioned=True)
    order = Order(image(file_version=0xFFFFFFFF), model.ActivateNow())
    refusal = judge(device, order, frozenset({Check.SAME_VERSION})).refusal
    assert "nobody could see that it runs" in refusal.reason


@pytest.mark.parametrize("check", [Check.MANUFACTURER, Check.IMAGE_TYPE, Check.HARDWARE_VERSION])
def test_a_device_of_several_images_is_refused_only_what_fits_none_of_them(check):
    order = Order(image(), model.ActivateNow())
    for mine, fits in (
        (runs(1, 0x1234, hardware=2), True),
        (runs(1, 0x1234, hardware=9), check is not Check.HARDWARE_VERSION),
    ):
        images = (*mine, *runs(7, 0x1234, 9, hardware=9), *runs(7, 0x9999, 2))
        device = Candidate(DEVICE, "PPMID", commissioned=True, images=images)
        assert (judge(device, order, frozenset({check})).refusal is None) is fits
    others = Candidate(DEVICE, "PPMID", commissioned=True, images=(*runs(7, 0x9999, 8), *runs(7, 0x9998, 2)))
    found = judge(others, order, frozenset({check})).refusal
    assert (None if found is None else found.reason) == {
        Check.MANUFACTURER: "its manufacturer is 0x9998, 0x9999, the image's 0x1234",
        Check.IMAGE_TYPE: "its image type is 0x0002, 0x0008, the image's 0x0001",
    }.get(check)


@pytest.mark.parametrize(("running", "words"), [(None, "its running version is not known"), (1, None), (7, "it runs")])
def test_a_device_off_the_upgrade_path_is_refused(running, words):
    ordered = image(file_version=9)
    product = Product("new", "PPMID", "Maker", "M1", 9, ordered.manufacturer_image_hash, ProductStatus.ACTIVE, ("old",))
    old = replace(product, id="old", firmware_version=1, image_hash="0" * 64, upgrade_from=())
    order = Order(ordered, model.ActivateNow(), products=ProductList([product, old]))
    device = Candidate(DEVICE, "PPMID", commissioned=True, file_version=running)
    found = judge(device, order, frozenset({Check.PRODUCT_LIST})).refusal
    assert (found is None) is (words is None)
    assert found is None or words in found.reason


# Methods


@pytest.mark.parametrize("kind", sorted(COMMANDED))
@pytest.mark.parametrize("wanted", [model.ActivateNow(), model.ActivateByCommand()])
def test_a_signed_image_waits_for_the_suppliers_command(kind, wanted):
    device = Candidate(DEVICE, kind, commissioned=True)
    assert judge(device, Order(image(SIGNED_TAIL), wanted), HUB_ENFORCES).refusal is None
    assert activation_for(kind, wanted) == model.ActivateByCommand()


@pytest.mark.parametrize(
    ("kind", "tail", "wanted", "words"),
    [
        *((kind, SIGNED_TAIL, model.ActivateAt(1.0), "CS06, at no time of the hub's") for kind in sorted(COMMANDED)),
        *((kind, b"", model.ActivateNow(), "it takes images that its supplier signed") for kind in sorted(COMMANDED)),
        ("PPMID", b"", model.ActivateByCommand(), "it obeys no command of a supplier"),
    ],
)
def test_an_order_that_does_not_fit_the_type_is_refused(kind, tail, wanted, words):
    found = judge(Candidate(DEVICE, kind, commissioned=True), Order(image(tail), wanted), HUB_ENFORCES).refusal
    assert found.check is Check.METHOD
    assert words in found.reason


def test_a_ppmid_is_activated_as_the_order_says():
    assert (
        judge(Candidate(DEVICE, "PPMID", commissioned=True), Order(image(), model.ActivateHold()), HUB_ENFORCES).refusal
        is None
    )
    assert activation_for("PPMID", model.ActivateHold()) == model.ActivateHold()
    assert "IHD" not in UPDATABLE


@pytest.mark.parametrize(
    ("kind", "distributed", "same", "tail", "gives_way"),
    [
        ("ESME", False, False, SIGNED_TAIL, False),
        ("ESME", False, False, FORCED_TAIL, True),
        ("ESME", True, False, SIGNED_TAIL, True),
        ("ESME", True, True, SIGNED_TAIL, False),
        ("ESME", True, False, b"", False),
        ("PPMID", False, False, FORCED_TAIL, False),
    ],
)
def test_what_is_under_way_gives_way_where_it_may(kind, distributed, same, tail, gives_way):
    ordered = image(tail)
    in_progress = InProgress(ordered.sha256 if same else "another", distributed)
    assert in_progress.gives_way(kind, ordered) is gives_way


def test_what_is_not_known_is_no_reason_to_refuse():
    assert (
        judge(
            Candidate(DEVICE, "PPMID", commissioned=True), Order(image(), model.ActivateNow()), frozenset(Check)
        ).refusal
        is None
    )


# What a client may do before its time

UTC = UtcSeconds(1_800_000_000.0)
HELD = model.Strategy.HOLD


def in_hours(hours, **how):
    return model.ActivateAt(UtcSeconds(UTC + hours * 3600), **how)


@pytest.mark.parametrize(
    ("name", "activation", "words"),
    [
        (None, model.ActivateNow(), None),
        (None, model.ActivateByCommand(), None),
        (None, in_hours(-1), None),
        (None, in_hours(0.004, strategy=HELD), "is not known, may activate at a restart in the last 20 s"),
        (None, in_hours(8), "its OTA client, whose class is not known, may activate at a restart in the last 20 s"),
        (None, in_hours(8, strategy=HELD), NOT_HELD + ", and may activate at a restart in the last 20 s"),
        (None, model.ActivateHold(), NOT_HELD),
        (None, model.ActivateHold(model.Strategy.PARK), None),
        ("telink", in_hours(8), None),
        ("telink", in_hours(1.9, strategy=HELD), None),
        ("telink", in_hours(2.004, strategy=HELD), None),  # for two hours, and then it is given its time
        ("telink", in_hours(2.01, strategy=HELD), "its OTA client, of class telink, cannot be relied upon to hold"),
        ("telink", model.ActivateHold(), "its OTA client, of class telink, cannot be relied upon to hold"),
        ("ti", in_hours(2.9, strategy=HELD), None),
        ("ti", in_hours(3.1, strategy=HELD), "cannot be relied upon to hold"),
        ("silicon-labs", in_hours(1000, strategy=HELD), None),
        ("silicon-labs", model.ActivateHold(), None),
        ("nordic", in_hours(8), "may activate at a restart in the last 20 s before its time"),
        ("nordic", model.ActivateHold(), "cannot be relied upon to hold"),
    ],
)
def test_a_promise_that_a_client_may_break_is_told_of(name, activation, words):
    told = early_activation(recognise(NOTHING_SHOWN, name), activation, UTC)
    assert (told is None) is (words is None)
    assert told is None or words in told


def test_a_class_that_is_only_likely_is_relied_upon_no_more_than_an_unknown_one():
    telink = Traits(block_bytes=48, field_control=2)
    told = early_activation(recognise(telink), in_hours(8), UTC)
    assert told == (
        "its OTA client, likely and not certainly of class telink,"
        " may activate at a restart in the last 20 s before its time"
    )


async def test_the_hub_warns_with_its_answer_and_in_the_trace(tmp_path):
    store, ordered, _ = scene(tmp_path, ENTRY, {})
    body = {"devices": [format_eui64(DEVICE)], "image": ordered.sha256}

    async def answer(desk, verb, wanted, **more):
        with store.transaction() as tx:
            number = tx.inbox.submit(verb, {"activation": model.activation_to_json(wanted), **more}, 0.0)
        await desk.until(lambda: store.inbox.get(number).result is not None)
        return store.inbox.get(number).result

    with store:
        async with hub_on_desk(store, MemoryRadio()) as desk:
            held = await answer(desk, Verb.UPDATE_START, model.ActivateHold(), **body)
            assert held["started"] == [{"device": format_eui64(DEVICE), "update": 1, "warning": NOT_HELD}]
            later = model.ActivateAt(UtcSeconds(desk.told[-1].utc + 36_000))
            moved = await answer(desk, Verb.UPDATE_ACTIVATE, later, update=1)
            assert "may activate at a restart in the last 20 s" in moved["warning"]
            assert (await answer(desk, Verb.UPDATE_ACTIVATE, model.ActivateNow(), update=1))["warning"] is None
            (accepted,) = (event for event in desk.told if event.kind is Kind.REQUEST_ACCEPTED)
            alarms = [event.fields["reason"] for event in desk.told if event.kind is Kind.ALARM]
    assert (accepted.update, accepted.device, accepted.fields["warning"]) == (1, DEVICE, NOT_HELD)
    assert ["kept back instead" in alarms[0], "may activate at a restart" in alarms[1]] == [True, True]
    assert len(alarms) == 2, "the transfer's own"


@pytest.mark.parametrize("set_class", [None, "silicon-labs"])
def test_the_cli_warns_at_once(tmp_path, set_class):
    store, ordered, _ = scene(tmp_path, replace(ENTRY, client_class=set_class), {})
    store.close()
    arguments = ["start", "--home", str(tmp_path), "--device", format_eui64(DEVICE), "--image", ordered.sha256]
    ran = CliRunner().invoke(update_command, [*arguments, "--hold"])
    assert (f"warning: {format_eui64(DEVICE)}: {NOT_HELD}\n" in ran.output) is (set_class is None)


def test_an_update_that_the_hub_has_not_seen_yet_is_in_progress(tmp_path):
    store, ordered, _ = scene(tmp_path, ENTRY, {})
    with store:
        with store.transaction() as tx:
            tx.inbox.submit(Verb.UPDATE_START, {"devices": [format_eui64(DEVICE)], "image": ordered.sha256}, 0.0)
        (refusal,) = decide(asked(ordered), StoreInventory(store)).refused
    assert (refusal.check, refusal.reason) == (Check.IN_PROGRESS, "it has another update in progress")
