"""Files that people write: what is wrong is one sentence with file, key and what is allowed."""

from dataclasses import fields
from functools import partial

import pytest

from chf.config import Table
from chf.dcc.products import Cpl
from chf.dcc.settings import DccSettings
from chf.dcc.smi import Smi
from chf.errors import UsageError
from chf.hub.settings import HubSettings
from chf.update.model import TimeForm

USER = "[[user]]\neui64 = '90-B3-D5-1F-30-01-00-00'\n"
DEVICE = '"device": "00-DB-12-34-56-78-90-A4", "device_type": "PPMID"'
PRODUCT = (
    '"device_type": "PPMID", "manufacturer": "1", "model": "2", "firmware_version": "2", "hash": "' + "0" * 64 + '"'
)
NOT_TOML = ("[ota\n", "a = " + "[" * 100_000, "a = " + "1" * 10_000, b"a = '\xff'")
NOT_JSON = ("{", "[" * 100_000)


def read(path, text):
    """Each file by the program that has it."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    readers = {
        "hub.toml": partial(HubSettings.load, path),
        "dcc.toml": partial(DccSettings.load, path),
        "smi.json": Smi(path.parent).devices,
        "cpl.json": Cpl(path.parent).products,
    }
    return readers[path.name]()


def listed(section, *records):
    return f'{{"schema": 1, "{section}": [{", ".join(f"{{{record}}}" for record in records)}]}}'


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        *((name, text, "is not TOML") for name in ("hub.toml", "dcc.toml") for text in NOT_TOML),
        *(("smi.json", text, "is not JSON") for text in NOT_JSON),
        ("hub.toml", "[radio]", "radio: is not known: use one of key_establishment, ota, "),
        ("hub.toml", "ota = 3", "ota: is not a table"),
        ("hub.toml", "[ota]\nblock = 3", "ota.block: is not known: use one of believe_stored_image, "),
        ("hub.toml", "[ota]\nblock_bytes = 50.5", "ota.block_bytes: is a whole number from 0 to 1000000000, not 50.5"),
        ("hub.toml", "[ota]\nblock_bytes = true", "ota.block_bytes: is a whole number"),
        ("hub.toml", "[ota]\ngrace_s = nan", "ota.grace_s: is a number from 0 to 1000000000, not nan"),
        ("hub.toml", "[ota]\nbelieve_stored_image = 1", "ota.believe_stored_image: is true or false, not 1"),
        ("hub.toml", "[ota]\ntime_form = 'soon'", "ota.time_form: is one of relative, absolute, not 'soon'"),
        ("hub.toml", "[ota]\ncommit_window_s = 4000", "clients cut a wait to 3600 s"),
        ("hub.toml", "[updates]\nconcurrent = 0", "updates: at least one update"),
        ("dcc.toml", "[users]", "users: is not known: use one of delivery, policy, user, or remove it"),
        ("dcc.toml", "user = 1", "user: is an array of tables, written [[user]]"),
        ("dcc.toml", "[[user]]\neui64 = 'x'\nroles = ['IS']", "user[1].eui64: 'x' is not an EUI-64"),
        ("dcc.toml", USER, "user[1].roles: is some of IS, ES, "),
        ("dcc.toml", USER + "roles = ['KING']", "user[1].roles: is some of IS, ES, "),
        ("dcc.toml", USER + "roles = 'IS'", "user[1].roles: is an array of texts"),
        ("dcc.toml", USER + "roles = ['IS']\nreceive_url = 'x'", "user[1].receive_url: 'x' is not an http or https"),
        ("dcc.toml", 2 * (USER + "roles = ['IS']\n"), "user[2]: 90-B3-D5-1F-30-01-00-00 is in it twice"),
        ("dcc.toml", "[policy]\nspeed = 1", "policy.speed: is not known"),
        ("dcc.toml", "[delivery]\ntimeout_s = 'long'", "delivery.timeout_s: is a number from 0 to 1000000000, not"),
        ("dcc.toml", "[delivery]\ntimeout_s = -1", "delivery.timeout_s: is a number from 0 to 1000000000, not -1"),
        ("dcc.toml", '[policy]\ngbcs_version = "4.\\u0007"', "policy.gbcs_version: is a text of at most 30 printable"),
        (
            "dcc.toml",
            f"[policy]\ngbcs_version = '{'4' * 31}'",
            "policy.gbcs_version: is a text of at most 30 printable",
        ),
        ("dcc.toml", "[policy]\ngbcs_version = 'ö'", "policy.gbcs_version: is a text in ASCII"),
        ("smi.json", "[]", "is not a table"),
        ("smi.json", "{}", "schema = 1 is missing"),
        ("smi.json", '{"schema": 2}', "schema: is a whole number from 1 to 0x1, not 2"),
        ("smi.json", '{"schema": 1, "device": []}', "device: is not known: use one of devices, schema"),
        ("smi.json", '{"schema": 1, "devices": [1]}', "devices[1]: is not a table"),
        ("smi.json", listed("devices", ""), "devices[1].device: is missing"),
        ("smi.json", listed("devices", DEVICE, '"device": "x"'), "devices[2].device: 'x' is not an EUI-64"),
        ("smi.json", listed("devices", DEVICE, DEVICE), "devices[2]: 00-DB-12-34-56-78-90-A4 is in it twice"),
        ("smi.json", listed("devices", DEVICE.replace("PPMID", "TV")), "devices[1].device_type: is one of ESME"),
        ("smi.json", listed("devices", DEVICE + ', "colour": 1'), "devices[1].colour: is not known"),
        ("smi.json", listed("devices", DEVICE + ', "model": "\\u001b"'), "model: is a text of at most 30 printable"),
        ("smi.json", listed("devices", DEVICE + ', "firmware_version": "0x-1"'), "is up to 8 hex digits"),
        ("cpl.json", listed("products", PRODUCT), "products[1].id: is missing"),
        ("cpl.json", listed("products", PRODUCT.replace('00"', '"')), "products[1].hash: is 64 hex digits"),
        ("cpl.json", listed("products", *[PRODUCT + ', "id": "P"'] * 2), "products[2]: product P is in it twice"),
        (
            "cpl.json",
            listed("products", PRODUCT + ', "id": "P", "upgrade_from": ["Q"]'),
            "products[1].upgrade_from: names 'Q', which is not in the list",
        ),
    ],
)
def test_a_mistake_is_named_with_file_key_and_what_is_allowed(tmp_path, name, text, said):
    with pytest.raises(UsageError) as caught:
        read(tmp_path / name, text)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["hub.toml", "dcc.toml"])
def test_an_empty_file_and_a_byte_order_mark_are_the_defaults(tmp_path, name):
    defaults = HubSettings() if name == "hub.toml" else DccSettings()
    assert read(tmp_path / name, "") == read(tmp_path / name, "\ufeff# by an editor on Windows") == defaults
    with pytest.raises(UsageError, match=r"^cannot read .*missing\.toml: No such file"):
        type(defaults).load(tmp_path / "missing.toml")


def test_every_time_in_seconds_takes_a_fraction_and_a_whole_number(tmp_path):
    policies = {"ota": HubSettings().ota, "updates": HubSettings().updates, "tunnel": HubSettings().tunnel}
    times = [(name, item.name) for name, policy in policies.items() for item in fields(policy) if item.type is float]
    assert ("ota", "grace_s") in times
    for section, name in times:
        for text in ("7.5", "7"):
            settings = read(tmp_path / "hub.toml", f"[{section}]\n{name} = {text}\n")
            value = getattr(getattr(settings, section), name)
            assert (type(value), value) == (float, float(text))


def test_words_switches_and_whole_numbers(tmp_path):
    text = '[ota]\ntime_form = "absolute"\nbelieve_stored_image = false\nblock_bytes = 50\n'
    chosen = read(tmp_path / "hub.toml", text).ota
    assert (chosen.time_form, chosen.believe_stored_image, chosen.block_bytes) == (TimeForm.ABSOLUTE, False, 50)


def test_what_is_long_is_not_repeated_whole():
    with pytest.raises(UsageError) as caught:
        Table({"a": "x" * 10_000}, "file").number("a", 1)
    assert len(str(caught.value)) < 200
