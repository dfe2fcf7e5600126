"""`chf report`: what it folds out of the store, and that no format lets a device's words do anything."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from lxml import etree, html

from chf.cli.main import chf
from chf.cli.update import UpdateFailedError
from chf.errors import UsageError
from chf.eui64 import Eui64, format_eui64
from chf.image.image import parse_image
from chf.radio.interface import RADIO_NOTE
from chf.store import DeviceEntry, DeviceType, NewAlert, Store, progress
from chf.store.images import record_of
from chf.store.progress import TransferProgress
from chf.trace import Event, Kind
from chf.update import model
from chf.view.report import Report, Selection, Verdict
from chf.view.report_html import to_html
from chf.view.report_junit import to_junit
from tests.support.programs import image_file
from tests.support.updates import accepted

T0 = 1_700_000_000.0
NOW = T0 + 1000
GOOD, BAD, SLOW, FORGOTTEN = (Eui64(0x00DB123456780000 + last) for last in range(1, 5))
REQUEST = "90-B3-D5-1F-30-01-00-00:90-B3-D5-1F-30-00-00-02:1000"
HOSTILE = "\x1b[2J\x07</td><script>alert(1)</script><img src=x onerror=y>\"'&\u202egnp\r\nforged: line\x00]]>"
SHOWN = "\\x1b[2J\\x07"
DOCUMENT = (Path(__file__).parents[2] / "docs" / "report.md").read_text()


def add_update(tx, number, device, image, created, **changes):
    tx.updates.add(replace(accepted(number, device, image.sha256, now_utc=created, lifetime_s=100.0), **changes))


@pytest.fixture
def store(tmp_path):
    """An update that went well, one that failed, one under way, and one whose device is gone."""
    image = parse_image(image_file(tmp_path / "new.ota", size_bytes=940).read_bytes())
    with Store.open(tmp_path / "home") as store:
        with store.transaction() as tx:
            tx.images.add(record_of(image, "new.ota", T0), image.content)
            for device in (GOOD, BAD, SLOW):
                tx.devices.add(DeviceEntry(device, DeviceType.PPMID, T0, bytes(16)))
            done = {"transfer": model.TransferOutcome.SUCCESS, "download_started": T0 + 1, "download_ended": T0 + 3}
            ended = {"state": model.UpdateState.ACTIVATED, "version_seen": 2, "ended": T0 + 5}
            add_update(tx, 1, GOOD, image, T0, **done, **ended, origin=REQUEST)
            record = model.TransferRecord(model.TransferState.FAILED, model.ActivateNow(), aborts=2)
            ended = {"state": model.UpdateState.FAILED, "reason": f"the device said {HOSTILE[:20]}", "ended": T0 + 15}
            add_update(tx, 2, BAD, image, T0 + 10, **ended, record=record)
            add_update(tx, 3, SLOW, image, T0 + 20, state=model.UpdateState.DOWNLOADING, download_started=T0 + 30)
            add_update(tx, 4, FORGOTTEN, image, T0 + 40, state=model.UpdateState.CANCELLED, ended=T0 + 41)
            progress.write(tx.meta, model.UpdateId(3), TransferProgress(420, 1000, 9, T0 + 32))
            tx.meta.set(RADIO_NOTE, json.dumps({"kind": "ezsp", "firmware": "7.4", "channel": 15, "state": "up"}))
            alert = NewAlert("a/1", GOOD, "CCS08", 0x8F8A, "success", b"\x01\x02", True, T0 + 3, 1)
            tx.alerts.add(alert)
            tx.alerts.add(
                replace(alert, msg_id="a/2", use_case="unknown", alert_code=0, outcome=HOSTILE[:60], update=2)
            )
            tx.alerts.attempted("a/1")
            tx.alerts.delivered("a/1", T0 + 4)
            ends = {"outcome": "success", "reason": "", "blocks": 20, "bytes": 1000, "seconds": 2.0}
            for event in (
                Event(T0 - 1, Kind.ALARM, GOOD, None, {"reason": "before"}),
                Event(T0, Kind.REQUEST_ACCEPTED, GOOD, 1, {"request": REQUEST, "sha256": image.sha256}),
                Event(T0 + 0.5, Kind.REQUEST_REFUSED, SLOW, None, {"request": REQUEST, "reason": "not commissioned"}),
                Event(T0 + 2, Kind.DEVICE_JOINED, GOOD, None, {"network_address": 5}),
                Event(T0 + 3, Kind.OTA_TRANSFER_ENDED, GOOD, 1, ends),
                Event(T0 + 5, Kind.UPDATE_STATE, GOOD, 1, {"from": "activating", "to": "activated", "reason": ""}),
                Event(T0 + 6, Kind.ALARM, GOOD, None, {"reason": "after"}),
                Event(T0 + 12, Kind.ALARM, BAD, None, {"reason": HOSTILE}),
                Event(T0 + 15, Kind.REQUEST_REFUSED, BAD, None, {"request": "cli", "reason": "in progress"}),
            ):
                tx.audit.append(event)
        yield store


def read(store, *numbers, since=None):
    return Report.read(store, Selection(tuple(map(model.UpdateId, numbers)), since), NOW)


def reasons(events):
    return [event.fields["reason"] for event in events]


# --- the fold


def test_report_has_every_update_in_the_order_of_their_making(store):
    report = read(store)
    assert [int(update.update.id) for update in report.updates] == [1, 2, 3, 4]
    wanted = [Verdict.ACTIVATED, Verdict.NOT_ACTIVATED, Verdict.UNDER_WAY, Verdict.NOT_ACTIVATED]
    assert [update.verdict for update in report.updates] == wanted
    assert (report.good, report.headline) == (False, "1 of 4 updates ended as activated")
    assert (report.radio["kind"], report.radio["coordinator"]) == ("ezsp", None)


@pytest.mark.parametrize(("numbers", "good"), [((1,), True), ((1, 2), False), ((3,), False)])
def test_report_is_good_only_where_every_selected_update_is_activated(store, numbers, good):
    report = read(store, *numbers)
    assert (tuple(int(update.update.id) for update in report.updates), report.good) == (numbers, good)


def test_report_of_nothing_is_not_good(store):
    report = read(store, since=T0 + 500)
    assert (report.updates, report.good) == ((), False)
    assert etree.fromstring(to_junit(report))[0].get("tests") == "0"
    assert b"0 of 0 updates" in to_html(report)


def test_report_since_has_what_was_begun_then(store):
    assert [int(update.update.id) for update in read(store, since=T0 + 20).updates] == [3, 4]


def test_report_of_an_update_that_there_is_not_is_refused(store):
    with pytest.raises(UsageError, match="there is no update 9"):
        read(store, 1, 9)


def test_report_history_is_of_the_update_and_of_its_device_while_it_ran(store):
    kinds = [event.kind for event in read(store, 1).updates[0].history]
    assert kinds == [Kind.REQUEST_ACCEPTED, Kind.DEVICE_JOINED, Kind.OTA_TRANSFER_ENDED, Kind.UPDATE_STATE]


def test_report_refusals_are_those_of_the_time_or_of_the_same_request(store):
    assert reasons(read(store).refusals) == ["not commissioned", "in progress"]
    assert reasons(read(store, since=T0 + 10).refusals) == ["in progress"]
    assert reasons(read(store, 1).refusals) == ["not commissioned"]
    assert reasons(read(store, 2).refusals) == [], "`cli` is the origin of all that was typed"


def test_report_download_is_what_its_end_told_or_how_far_it_is(store):
    done, failed, slow, _ = read(store).updates
    assert str(done.download) == "1.0 kB, 20 blocks, 2.0 s, 0.5 kB/s"
    assert failed.download is None
    assert str(slow.download) == "0.4 kB, 9 blocks, 2.0 s, 0.2 kB/s"
    assert (done.seconds, slow.seconds) == (5.0, NOW - T0 - 20)


def test_report_counts_the_downloads_that_a_device_began_again(store):
    assert [update.retries for update in read(store).updates] == [None, 2, None, None]


def test_report_does_not_break_on_a_session_that_cannot_be_read(store):
    with store.transaction() as tx:
        tx.updates.update(replace(tx.updates.get(model.UpdateId(2)), record=model.DamagedRecord("{", "cut short")))
    assert isinstance(store.updates.get(model.UpdateId(2)).record, model.DamagedRecord)
    assert read(store, 2).updates[0].retries is None


# --- JSON


def test_report_json_is_the_same_twice_and_has_a_version(store):
    record = read(store).record
    assert json.dumps(record) == json.dumps(read(store).record)
    assert (record["schema"], record["good"], record["states"]["activated"]) == (1, False, 1)
    (alert,) = record["updates"][0]["alerts"]
    told = {name: alert[name] for name in ("use_case", "alert_code", "outcome", "attempts")}
    assert told == {"use_case": "CCS08", "alert_code": "0x8F8A", "outcome": "success", "attempts": 1}
    assert record["refusals"][0]["device"] == format_eui64(SLOW)


@pytest.mark.parametrize(
    ("heading", "pick"),
    [
        ("The report", lambda record: record),
        ("An update", lambda record: record["updates"][0]),
        ("An alert", lambda record: record["updates"][0]["alerts"][0]),
    ],
)
def test_report_json_has_the_members_that_its_page_lists(store, heading, pick):
    part = DOCUMENT.split(f"### {heading}\n")[1].split("\n#")[0]
    listed = [
        name for row in re.findall(r"^\| (`[^|]*) \|", part, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    ]
    assert listed == list(pick(read(store).record))


# --- HTML


def page_of(store):
    octets = to_html(read(store))
    return octets, html.document_fromstring(octets)


def test_report_html_needs_nothing_and_runs_nothing(store):
    octets, page = page_of(store)
    assert octets.isascii()
    for attribute in ("src", "srcset", "action", "background", "data", "poster"):
        assert page.xpath(f"//@{attribute}") == []
    links = page.xpath("//@href")
    assert links == [f"#update-{number}" for number in (1, 2, 3, 4)]
    assert {f"#{name}" for name in page.xpath("//@id")} >= set(links)
    assert page.xpath("//script | //link | //iframe | //object | //embed | //img | //form | //base") == []
    assert page.xpath("//@*[starts-with(name(), 'on')]") == []
    (style,) = page.xpath("//style/text()")
    assert not re.search(r"url\(|@import|https?:|expression", style)
    (policy,) = page.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    assert policy.startswith("default-src 'none'")


def test_report_html_is_for_every_reader(store):
    _, page = page_of(store)
    assert page.get("lang") == "en"
    assert page.findtext("head/title") == "Firmware updates: 1 of 4 updates ended as activated"
    assert [heading.tag for heading in page.iter("h1", "h2")] == ["h1", *["h2"] * 6]
    for table in page.iter("table"):
        assert table.findtext("caption")
        assert {heading.get("scope") for heading in table.iter("th")} <= {"row", "col"}
    names = page.xpath("//@id")
    assert len(names) == len(set(names))
    labels = page.xpath("//*[@role='region']/@aria-label")
    assert len(labels) == len(set(labels)) > 4
    assert set(page.xpath("//*[@role='region']/@tabindex")) == {"0"}
    assert set(page.xpath("//section/@aria-labelledby")) <= set(names)
    (style,) = page.xpath("//style/text()")
    assert all(words in style for words in ("prefers-color-scheme: dark", "color-scheme: light dark", "@media print"))
    for mark in page.xpath("//*[contains(@class, 'mark')]"):
        assert mark.text, "never by colour alone"
    opened = [details.getparent().find("h2").get("id") for details in page.iter("details") if "open" in details.attrib]
    assert opened == ["update-2", "update-3", "update-4"]


# --- JUnit

JUNIT = """<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">
<xs:simpleType name="moment"><xs:restriction base="xs:dateTime">
  <xs:pattern value="\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d"/></xs:restriction></xs:simpleType>
<xs:complexType name="trouble"><xs:simpleContent><xs:extension base="xs:string">
  <xs:attribute name="message" type="xs:string"/><xs:attribute name="type" type="xs:string" use="required"/>
</xs:extension></xs:simpleContent></xs:complexType>
<xs:element name="testsuites"><xs:complexType><xs:sequence><xs:element name="testsuite"><xs:complexType>
  <xs:sequence>
    <xs:element name="properties"><xs:complexType><xs:sequence>
      <xs:element name="property" minOccurs="0" maxOccurs="unbounded"><xs:complexType>
        <xs:attribute name="name" type="xs:token" use="required"/>
        <xs:attribute name="value" type="xs:string" use="required"/>
      </xs:complexType></xs:element>
    </xs:sequence></xs:complexType></xs:element>
    <xs:element name="testcase" minOccurs="0" maxOccurs="unbounded"><xs:complexType>
      <xs:choice minOccurs="0">
        <xs:element name="error" type="trouble"/><xs:element name="failure" type="trouble"/>
      </xs:choice>
      <xs:attribute name="name" type="xs:token" use="required"/>
      <xs:attribute name="classname" type="xs:token" use="required"/>
      <xs:attribute name="time" type="xs:decimal" use="required"/>
    </xs:complexType></xs:element>
    <xs:element name="system-out" type="xs:string"/>
    <xs:element name="system-err" type="xs:string"/>
  </xs:sequence>
  <xs:attribute name="name" type="xs:token" use="required"/>
  <xs:attribute name="package" type="xs:token" use="required"/>
  <xs:attribute name="id" type="xs:int" use="required"/>
  <xs:attribute name="timestamp" type="moment" use="required"/>
  <xs:attribute name="hostname" type="xs:token" use="required"/>
  <xs:attribute name="tests" type="xs:int" use="required"/>
  <xs:attribute name="failures" type="xs:int" use="required"/>
  <xs:attribute name="errors" type="xs:int" use="required"/>
  <xs:attribute name="time" type="xs:decimal" use="required"/>
</xs:complexType></xs:element></xs:sequence></xs:complexType></xs:element>
</xs:schema>"""
"""What the schemas of Ant (windyroad/JUnit-Schema) and of Jenkins' xunit plugin (junit-10.xsd) both take."""


@pytest.mark.parametrize("numbers", [(), (1,), (1, 2, 3, 4)])
def test_report_junit_holds_against_the_common_schemas(store, numbers):
    document = etree.fromstring(to_junit(read(store, *numbers)))
    etree.XMLSchema(etree.fromstring(JUNIT)).assertValid(document)


def test_report_junit_has_a_case_for_each_update_and_says_why_it_failed(store):
    (suite,) = etree.fromstring(to_junit(read(store)))
    assert [suite.get(name) for name in ("tests", "failures", "errors")] == ["4", "2", "1"]
    cases = {case.get("classname"): case for case in suite.iter("testcase")}
    assert cases[f"chf.{format_eui64(GOOD)}"].get("name") == "update 1 to version 0x00000002"
    assert len(cases[f"chf.{format_eui64(GOOD)}"]) == 0
    failure = cases[f"chf.{format_eui64(BAD)}"].find("failure")
    assert (failure.get("type"), failure.get("message")[:24]) == ("failed", "failed: the device said ")
    assert "alarm reason=" in failure.text
    assert cases[f"chf.{format_eui64(SLOW)}"].find("error").get("type") == "downloading"
    assert "not commissioned" in suite.findtext("system-out")


# --- what a device says


def test_what_devices_say_is_inert_in_every_format(store, tmp_path):
    """Escape sequences, markup, a right-to-left override, a forged line, octets that XML cannot hold."""
    report = read(store)
    octets, page = page_of(store)
    text = page.text_content()
    assert SHOWN in text
    assert "<script>alert(1)</script>" in text, "as text, which is what it is"
    assert page.xpath("//script | //img | //*[@onerror]") == []
    junit = to_junit(report)
    story = etree.fromstring(junit).findtext("testsuite/testcase/failure")
    assert SHOWN in story
    assert [line for line in story.splitlines() if line.startswith("forged")] == []
    result = CliRunner().invoke(chf, ["report", "--home", str(store.home)])
    as_json = json.dumps(report.record, ensure_ascii=True).encode()
    for written in (octets, junit, result.stdout.encode(), as_json):
        assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", written)
        assert "\u202e".encode() not in written
    assert SHOWN in result.stdout


# --- the command


@pytest.fixture
def run(store):
    def command(*arguments, code=0):
        result = CliRunner().invoke(chf, ["report", "--home", str(store.home), *arguments])
        error = result.exception
        assert getattr(error, "exit_code", result.exit_code) == code, (error, result.output)
        return result

    return command


def test_report_command_prints_a_table_and_writes_whole_files(run, tmp_path):
    files = {name: tmp_path / f"report.{name}" for name in ("html", "junit", "json")}
    result = run("--update", "1", *(part for name, path in files.items() for part in (f"--{name}", str(path))))
    head, row = (re.split(r"\s{2,}", line.strip()) for line in result.stdout.splitlines()[:2])
    assert head == ["UPDATE", "DEVICE", "TYPE", "VERSIONS", "STATE", "DOWNLOAD", "ALERTS", "REASON"]
    assert row[:5] == ["1", format_eui64(GOOD), "PPMID", "0x00000001 -> 0x00000002", "activated"]
    assert row[5:] == ["1.0 kB, 20 blocks, 2.0 s, 0.5 kB/s", "CCS08 0x8F8A", "-"]
    assert "REFUSED" in result.stdout
    assert "1 of 1 updates ended as activated" in result.stderr
    assert files["html"].read_bytes().startswith(b"<!DOCTYPE html>")
    assert etree.parse(files["junit"]).getroot().tag == "testsuites"
    assert json.loads(files["json"].read_text())["good"] is True


def test_report_command_ends_with_1_unless_every_update_is_activated(run, tmp_path):
    written = tmp_path / "report.xml"
    failed = run("--junit", str(written), code=1)
    assert isinstance(failed.exception, UpdateFailedError)
    assert str(failed.exception) == "1 of 4 updates ended as activated"
    assert written.exists(), "what failed is what one wants to read"
    assert "nothing was shown to work" in str(run("--since", "-1s", code=1).exception)


@pytest.mark.parametrize("name", ["html", "junit", "json"])
def test_report_command_prints_nothing_else_beside_a_file_on_standard_output(run, name):
    printed = run("--update", "1", f"--{name}", "-").stdout
    assert printed.startswith({"html": "<!DOCTYPE", "junit": "<?xml", "json": "{"}[name])
    assert "UPDATE  DEVICE" not in printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--update", "9"), "no update 9"),
        (("--update", "1", "--since", "-1h"), "exclude each other"),
        (("--html", "-", "--json", "-"), "only one of"),
        (("--update", "1", "--html", "/nowhere/report.html"), "cannot write"),
        (("--since", "2999-01-01T00:00:00Z"), "yet to come"),
    ],
)
def test_report_command_refuses_what_makes_no_sense(run, arguments, words):
    result = run(*arguments, code=2)
    assert words in f"{result.exception} {result.output}"
