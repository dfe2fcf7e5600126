"""`chf image` as a person or a script meets it: what it prints where, and its exit codes."""

import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from chf.cli.image import image as command
from chf.cli.main import chf
from chf.errors import MalformedImageError, RefusedError, UsageError
from chf.eui64 import parse_eui64
from chf.store import DeviceEntry, DeviceType, Store

IMAGES = Path(__file__).parents[2] / "firmware_images"
SIGNED = IMAGES / "golden" / "hcalcs-v2.zigbee"
PPMID = IMAGES / "golden" / "ppmid-small.zigbee"
STANDARD = IMAGES / "golden" / "standard.zigbee"


DIGESTS = [hashlib.sha256(octets).hexdigest() for octets in (SIGNED.read_bytes(), SIGNED.read_bytes()[60:-66])]
SMALL = IMAGES / "recipes" / "ppmid-small.toml"


def run(*arguments, **options):
    return CliRunner().invoke(command, [str(argument) for argument in arguments], **options)


def run_json(*arguments, exit_code=0, **options):
    result = run(*arguments, "--json", **options)
    assert result.exit_code == exit_code, result.output
    return json.loads(result.stdout)


def recipe_with(folder: Path, payload: str) -> Path:
    """The recipe of the small image in a folder, its payload from a file."""
    recipe = folder / "r.toml"
    recipe.write_text(SMALL.read_text().split("[payload]")[0] + f'[payload]\nfile = "{payload}"\n')
    return recipe


@pytest.fixture
def public_key(tmp_path) -> Path:
    path = tmp_path / "supplier.pem"
    recipe = IMAGES / "recipes" / "hcalcs-v2.toml"
    assert run("build", recipe, "-o", tmp_path / "x.zigbee", "--public-key", path).exit_code == 0
    return path


def test_build_writes_the_same_file_every_time(tmp_path):
    outputs = [tmp_path / "one", tmp_path / "two"]
    for output in outputs:
        result = run("build", IMAGES / "recipes" / "hcalcs-v2.toml", "-o", output)
        assert result.exit_code == 0
        assert result.stdout == f"{hashlib.sha256(output.read_bytes()).hexdigest()}  {output}\n"
    assert outputs[0].read_bytes() == outputs[1].read_bytes() == SIGNED.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_build_takes_the_suggested_name_and_a_payload_beside_the_recipe(tmp_path, monkeypatch):
    (tmp_path / "recipes").mkdir()
    recipe = recipe_with(tmp_path / "recipes", "firmware.bin")
    (recipe.parent / "firmware.bin").write_bytes(b"firmware")
    monkeypatch.chdir(tmp_path)
    made = run_json("build", recipe)
    assert made["file"] == "FFF0-0084-02000002-chf-small-PPMID.zigbee"
    assert (tmp_path / made["file"]).read_bytes().endswith(b"firmware")


def test_build_of_a_damaged_image_says_what_is_wrong(tmp_path):
    made = run_json("build", IMAGES / "broken" / "bad-magic.toml", "-o", tmp_path / "bad")
    assert (made["refused"]["field"], made["refused"]["offset"]) == ("file identifier", 0)
    spoken = run("build", IMAGES / "broken" / "bad-magic.toml", "-o", tmp_path / "bad")
    assert "damaged on purpose" in spoken.stderr


def test_build_writes_nothing_when_it_fails(tmp_path):
    empty, out = tmp_path / "empty.toml", tmp_path / "out"
    empty.write_text(SMALL.read_text().replace("size_bytes = 2000", "size_bytes = 0"))
    assert isinstance(run("build", empty, "-o", out).exception, MalformedImageError)
    for arguments in (
        [recipe_with(tmp_path, "not-there.bin"), "-o", out],
        [SMALL, "-o", out, "--public-key", tmp_path / "key"],  # this one is unsigned
        [SMALL, "-o", tmp_path / "no" / "x"],
    ):
        assert isinstance(run("build", *arguments).exception, UsageError)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.toml", "r.toml"]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x = 1 # " + b"x" * (1 << 20)], ids=["not UTF-8", "too large"])
def test_build_refuses_what_is_no_recipe(tmp_path, content):
    recipe = tmp_path / "r.toml"
    recipe.write_bytes(content)
    assert isinstance(run("build", recipe, "-o", tmp_path / "out").exception, UsageError)


@pytest.mark.parametrize("name", ["not-there.bin", r"nul\u0000.bin", "n" * 5000, ".", "../../none/../none.bin"])
def test_build_with_a_payload_that_cannot_be_read(tmp_path, name):
    error = run("build", recipe_with(tmp_path, name), "-o", tmp_path / "out").exception
    assert isinstance(error, UsageError)
    assert str(error).startswith("cannot read ")


def test_build_does_not_read_an_endless_payload(tmp_path):
    error = run("build", recipe_with(tmp_path, "/dev/zero"), "-o", tmp_path / "out").exception
    assert isinstance(error, UsageError)
    assert "larger than 10240000 bytes" in str(error)


def test_build_leaves_nothing_behind_when_the_disk_fails(tmp_path, monkeypatch):
    def fail(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", fail)
    result = run("build", SMALL, "-o", tmp_path / "out")
    assert isinstance(result.exception, UsageError)
    assert "No space left" in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_build_writes_into_a_pipe_and_does_not_replace_it(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert run("build", SMALL, "-o", pipe).exit_code == 0
        assert os.read(reader, 1 << 16) == PPMID.read_bytes()
    finally:
        os.close(reader)
    assert pipe.is_fifo()


def test_the_kinds_are_named_in_the_help():
    assert "standard|gbcs-ppmid|gbcs-signed" in run("inspect", "--help").stdout.replace("\n", "").replace(" ", "")


def test_every_optional_header_field_is_shown():
    file = IMAGES / "golden" / "standard-all-fields.zigbee"
    shown = run("inspect", file).stdout
    assert "00-DB-12-34-56-78-90-A4" in shown
    assert "Security credential" in shown
    assert run_json("inspect", file)["header"]["destination"] == "00-DB-12-34-56-78-90-A4"
    assert run_json("verify", STANDARD, "--hardware-version", "1")["checks"][1]["passed"] is True


def test_inspect_tells_a_person(public_key):
    shown = run("inspect", SIGNED, "--certificate", public_key).stdout
    facts = ["GBCS image with a supplier signature", "0x02000000 (2.0.0.0)", "0x0200 to 0x02FF", "verified: made by"]
    assert [fact for fact in [*facts, *DIGESTS] if fact not in shown] == []


def test_inspect_json_is_one_object_with_the_facts(public_key):
    told = run_json("inspect", SIGNED, "--certificate", public_key)
    assert (told["kind"], told["bytes"], told["force_replace"]) == ("gbcs-signed", 4222, False)
    assert told["signature"] == {
        "r_s": SIGNED.read_bytes()[-64:].hex(),
        "verified": True,
        "checked_against": "the public key",
    }
    assert told["suggested_file_name"] == "FFF0-0085-02000000-chf-test-HCALCS-v2.zigbee"
    assert run_json("inspect", SIGNED)["signature"]["verified"] is None
    assert run_json("inspect", PPMID)["signature"] is None
    elements = run_json("inspect", STANDARD)["sub_elements"]
    assert [(each["tag"], each["bytes"]) for each in elements] == [("0x0000", 4000), ("0xF001", 30)]


def test_inspect_reads_standard_input_and_a_stated_kind():
    assert run_json("inspect", "-", input=PPMID.read_bytes())["kind"] == "gbcs-ppmid"
    assert run_json("inspect", SIGNED, "--kind", "gbcs-ppmid")["manufacturer_image"]["bytes"] == 4222 - 60
    assert run("inspect", SIGNED, "--kind", "elf").exit_code == 2


def test_a_header_string_cannot_drive_the_terminal(tmp_path):
    content = bytearray(PPMID.read_bytes())
    content[20:52] = b"\x1b[2J\x07[red]\r\n\xe2\x80\xae\xff".ljust(32, b"\0")
    file = tmp_path / "evil.zigbee"
    file.write_bytes(content)
    shown = run("inspect", file).stdout
    assert not any(ord(character) < 32 and character != "\n" for character in shown)
    assert r"\x1b[2J\x07[red]\r\n\u202e\xff" in shown
    assert run_json("inspect", file)["header"]["header_string"] == r"\x1b[2J\x07[red]\r\n\u202e\xff"


def test_verify_lists_every_check(public_key):
    digest, image_hash = DIGESTS
    options = ["--certificate", public_key, "--sha256", digest.upper(), "--manufacturer-image-hash", image_hash]
    told = run_json("verify", SIGNED, *options, "--file-version", "0x02000000", "--hardware-version", "2ff")
    assert told["passed"] is True
    assert all(check["passed"] is True for check in told["checks"])
    names = ["structure", "sha256", "manufacturer image hash", "file version", "hardware version", "signature"]
    assert [check["name"] for check in told["checks"]] == names


@pytest.mark.parametrize(
    ("file", "options", "failed"),
    [
        (SIGNED, ["--sha256", "0" * 64], "sha256"),
        (SIGNED, ["--manufacturer-image-hash", "0" * 64], "manufacturer image hash"),
        (SIGNED, ["--file-version", "02000001"], "file version"),
        (SIGNED, ["--hardware-version", "0300"], "hardware version"),
        (SIGNED, ["--hardware-version", "01FF"], "hardware version"),
        (IMAGES / "golden" / "SHA256SUMS", [], "structure"),
    ],
)
def test_verify_fails_by_the_check_that_fails(file, options, failed):
    told = run_json("verify", file, *options, exit_code=1)
    assert told["passed"] is False
    assert [check["name"] for check in told["checks"] if check["passed"] is False] == [failed]
    spoken = run("verify", file, *options)
    assert spoken.exit_code == 1
    assert "FAILED" in spoken.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("image", "inspect", SIGNED),
        ("image", "verify", SIGNED),
        ("image", "add", SIGNED),
        ("demo", "--image", SIGNED),
        ("update", "start", "--device", "00-DB-12-34-56-78-90-A4", "--image", SIGNED),
        (
            "dcc",
            "product",
            "add",
            "entry",
            "--image",
            SIGNED,
            "--type",
            "HCALCS",
            "--manufacturer",
            "a",
            "--model",
            "b",
        ),
    ],
    ids=lambda arguments: " ".join(map(str, arguments[:2])),
)
def test_every_command_that_takes_an_image_has_a_limit(tmp_path, arguments):
    with Store.open(tmp_path) as store, store.transaction() as tx:
        tx.devices.add(DeviceEntry(parse_eui64("00-DB-12-34-56-78-90-A4"), DeviceType.PPMID, 0.0, bytes(16)))
    environment = {"CHF_HOME": str(tmp_path / "new" if arguments[0] == "demo" else tmp_path)}
    told = CliRunner().invoke(chf, [*map(str, arguments), "--limit", "100"], env=environment)
    assert "larger than the limit of 100 bytes" in told.output + str(told.exception)


def test_verify_of_a_directory_judges_every_file_below_it(tmp_path):
    (tmp_path / "in" / "deeper").mkdir(parents=True)
    (tmp_path / "in" / "deeper" / "sound.ota").write_bytes(STANDARD.read_bytes())
    assert run("verify", tmp_path / "in").exit_code == 0
    (tmp_path / "in" / "damaged.ota").write_bytes(STANDARD.read_bytes()[:-1])
    told = run_json("verify", tmp_path / "in", exit_code=1)["files"]
    assert [(Path(each["file"]).name, each["passed"]) for each in told] == [("damaged.ota", False), ("sound.ota", True)]
    spoken = run("verify", tmp_path / "in")
    assert "damaged.ota" in spoken.stdout
    assert "1 of 2 files are sound" in spoken.stderr


def test_verify_with_a_certificate_wants_a_good_signature(tmp_path, public_key):
    assert run_json("verify", PPMID, "--certificate", public_key, exit_code=1)["checks"][-1]["passed"] is False
    flipped = tmp_path / "flipped.zigbee"
    flipped.write_bytes(SIGNED.read_bytes()[:100] + b"!" + SIGNED.read_bytes()[101:])
    assert run_json("verify", flipped, "--certificate", public_key, exit_code=1)["checks"][-1]["passed"] is False
    assert run_json("verify", flipped)["checks"][-1]["passed"] is None  # nobody was named: not asked, and said so


@pytest.mark.parametrize("content", [b"", b"junk", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_a_usage_error(tmp_path, content):
    path = tmp_path / "c.pem"
    path.write_bytes(content)
    assert isinstance(run("verify", SIGNED, "--certificate", path).exception, UsageError)


@pytest.mark.parametrize("option", [("--sha256", "12"), ("--file-version", "123456789"), ("--hardware-version", "1.2")])
def test_an_option_that_makes_no_sense_is_a_usage_error(option):
    assert run("verify", SIGNED, *option).exit_code == 2


def test_a_file_of_ten_gigabytes_is_refused_at_once_and_in_little_memory(tmp_path):
    huge = tmp_path / "huge.zigbee"
    with huge.open("wb") as stream:
        stream.write(PPMID.read_bytes())
        stream.truncate(10 << 30)
    limit = 400 << 20
    program = "from chf.cli.main import main; main()"
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", program, "image", "inspect", str(huge)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert done.returncode == 1
    assert "larger than the limit of 768000 bytes (file size, offset 768000)" in done.stderr
    assert done.stdout == ""
    assert time.monotonic() - start < 5


def test_an_endless_stream_is_refused():
    with pytest.raises(MalformedImageError) as caught:
        raise run("inspect", "/dev/zero").exception or AssertionError
    assert caught.value.field == "file size"


def test_the_program_reports_errors_on_stderr_with_their_exit_codes(tmp_path):
    bad = tmp_path / "bad.zigbee"
    bad.write_bytes(b"\x7fELF" + bytes(100))
    program = [sys.executable, "-c", "from chf.cli.main import main; main()", "image"]
    malformed = subprocess.run([*program, "inspect", bad], capture_output=True, text=True, check=False)
    assert (malformed.returncode, malformed.stdout) == (1, "")
    assert "(file identifier, offset 0)" in malformed.stderr
    failed = subprocess.run([*program, "verify", bad, "--json"], capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert json.loads(failed.stdout)["passed"] is False
    usage = subprocess.run([*program, "inspect", tmp_path / "none"], capture_output=True, text=True, check=False)
    assert usage.returncode == 2


# The store


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    home = tmp_path / "home"
    monkeypatch.setenv("CHF_HOME", str(home))
    return home


def test_images_are_added_listed_and_removed(home):
    added = run_json("add", PPMID, "--name", "the small one")
    assert added["added"] is True
    assert run_json("add", PPMID)["added"] is False
    assert run("add", SIGNED).stdout == hashlib.sha256(SIGNED.read_bytes()).hexdigest() + "\n"
    listed = run_json("list")["images"]
    assert listed[0] == added["image"]
    assert [each["name"] for each in listed] == ["the small one", "hcalcs-v2.zigbee"]
    assert [each["kind"] for each in listed] == ["gbcs-ppmid", "gbcs-signed"]
    assert "FFF0" in run("list").stdout
    removed = run_json("remove", hashlib.sha256(PPMID.read_bytes()).hexdigest()[:10].upper())
    assert removed["removed"] == added["image"]
    assert run("remove", "hcalcs-v2.zigbee").exit_code == 0
    assert run_json("list")["images"] == []
    assert isinstance(run("remove", "hcalcs-v2.zigbee").exception, UsageError)


def test_what_is_refused_is_not_stored(home, tmp_path, public_key):
    cut = tmp_path / "cut.zigbee"
    cut.write_bytes(PPMID.read_bytes()[:-1])
    assert isinstance(run("add", cut).exception, MalformedImageError)
    assert isinstance(run("add", PPMID, "--certificate", public_key).exception, RefusedError)
    assert isinstance(run("add", PPMID, "--limit", 100).exception, MalformedImageError)
    assert isinstance(run("add", PPMID, "--name", "\x1b[2J").exception, UsageError)
    assert run("add", SIGNED, "--certificate", public_key).exit_code == 0
    assert [each["kind"] for each in run_json("list")["images"]] == ["gbcs-signed"]


def test_a_file_name_that_is_no_text_is_stored_readably(home, tmp_path):
    odd = tmp_path / os.fsdecode(b"odd\xff\x1b.zigbee")
    odd.write_bytes(PPMID.read_bytes())
    assert run_json("add", odd)["image"]["name"] == r"odd\xdcff\x1b.zigbee"


def test_adding_and_removing_are_audited(home):
    from chf.store import Store

    run("add", PPMID)
    run("add", PPMID)
    run("remove", "ppmid-small.zigbee")
    with Store.open(home) as store:
        events = [record.event for record in store.audit.tail()]
    digest = hashlib.sha256(PPMID.read_bytes()).hexdigest()
    assert [(event.kind.value, event.fields["sha256"]) for event in events] == [
        ("image.added", digest),
        ("image.removed", digest),
    ]
