"""`chf dcc pki`: make and show the test PKI. No command prints a private key."""

from pathlib import Path

import click

from chf.cli.options import EUI64, home_option, json_option, print_json, print_table, talk
from chf.errors import MalformedError, StoreError, UnusableFileError, UsageError
from chf.eui64 import Eui64, format_eui64, parse_eui64
from chf.files import write_new
from chf.pki.certificates import Usage, describe, load_certificates
from chf.pki.gbcs import DEFAULT_ACB, DEFAULT_SUPPLIER, Pki, fresh_keys, seeded_keys
from chf.pki.zigbee import ZigbeePki, fresh_numbers, seeded_numbers

_DEFAULT_CHF = parse_eui64("00-DB-12-34-56-78-90-A2")  # the hub of the public test sets (RTDS)


@click.group()
def pki() -> None:
    """The test PKI: certificates and keys of the ACB, a supplier, the hub and its devices."""


def pki_path(home: Path) -> Path:
    return home / "pki"


def open_pki(home: Path) -> Pki:
    """The test PKI of this home directory; made on the first run, because the hub signs its alerts with it."""
    path = pki_path(home)
    if path.exists():
        return Pki.open(path)
    talk(f"made a test PKI in {path}: `chf dcc pki show` lists it")
    return Pki.create(path, chf=_DEFAULT_CHF)


@pki.command()
@home_option
@click.option("--chf", "chf_eui64", type=EUI64, default=format_eui64(_DEFAULT_CHF), show_default=True, help="The hub.")
@click.option("--acb", type=EUI64, default=format_eui64(DEFAULT_ACB), show_default=True, help="The DCC's ACB.")
@click.option("--supplier", type=EUI64, default=format_eui64(DEFAULT_SUPPLIER), show_default=True)
@click.option("--seed", help="Derive every key from this text. Anybody who knows it has the keys: for tests only.")
def init(home: Path, chf_eui64: Eui64, acb: Eui64, supplier: Eui64, seed: str | None) -> None:
    """Make a new PKI. An existing one is never touched."""
    keys = fresh_keys if seed is None else seeded_keys(seed.encode())
    made = Pki.create(pki_path(home), chf=chf_eui64, acb=acb, supplier=supplier, keys=keys)
    talk(f"made {made.path}: root, ACB, supplier and hub; private keys are in it, mode 0600")


@pki.command()
@home_option
@click.argument("device", type=EUI64)
@click.option("--seed", help="As in `init`.")
def issue(home: Path, device: Eui64, seed: str | None) -> None:
    """Make the keys and certificates of DEVICE (an EUI-64). Those that exist stay as they are.

    GBCS certificates, and ZigBee certificates for key establishment in both suites. The hub's dongle wants the latter
    too: DEVICE is then the dongle's EUI-64, as `chf radio probe` tells it.
    """
    opened = Pki.open(pki_path(home))
    opened.issue(device, fresh_keys if seed is None else seeded_keys(seed.encode()))
    zigbee_pki(opened).issue(device, fresh_numbers if seed is None else seeded_numbers(seed.encode()))
    talk(f"{format_eui64(device)} has its certificates in {opened.path}")


@pki.command()
@home_option
@click.argument("certificate", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def add(home: Path, certificate: Path) -> None:
    """Trust the CERTIFICATE (PEM or DER) of a device that keeps its private key itself."""
    eui64, usage = Pki.open(pki_path(home)).add(load_certificates(certificate)[0])
    talk(f"{format_eui64(eui64)} is now known by its {usage.name.lower().replace('_', ' ')} certificate")


@pki.command("add-zigbee")
@home_option
@click.argument("credentials", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def add_zigbee(home: Path, credentials: Path) -> None:
    """Take in CREDENTIALS of another CA: certificate, private key and CA key as labelled hex lines (Certicom's layout).

    For a bench with devices of that CA. The file itself is not kept; delete it, or keep it safe.
    """
    try:
        taken = zigbee_pki(Pki.open(pki_path(home))).add(credentials.read_text(encoding="utf-8", errors="replace"))
    except MalformedError as error:
        raise UsageError(f"{credentials}: {error}") from error
    subject, issuer = Eui64(taken.certificate.subject), Eui64(taken.certificate.issuer)
    talk(f"{format_eui64(subject)} has a certificate of {format_eui64(issuer)} for suite {taken.suite.value}")


@pki.command()
@home_option
@json_option
def show(home: Path, as_json: bool) -> None:
    """List the certificates."""
    opened = Pki.open(pki_path(home))
    held = opened.certificates()
    lines = [describe(certificate) for certificate in held if not isinstance(certificate, UnusableFileError)]
    unusable = [str(reason) for reason in held if isinstance(reason, UnusableFileError)]
    for reason in unusable:
        talk(f"unusable: {reason}")
    zigbee = [
        {"eui64": format_eui64(subject), "suite": suite.value} for subject, suite in zigbee_pki(opened).subjects()
    ]
    if as_json:
        chosen = {name: format_eui64(getattr(opened, name)) for name in ("acb", "supplier", "chf")}
        print_json(
            {
                "schema": 1,
                "path": str(opened.path),
                **chosen,
                "certificates": lines,
                "zigbee": zigbee,
                "unusable": unusable,
            }
        )
        return
    rows = [[line["eui64"], line["role"], line["usage"], line["serial"], line["sha256"][:16]] for line in lines]
    rows += [[str(line["eui64"]), "-", f"zigbee-suite{line['suite']}", "-", "-"] for line in zigbee]
    print_table(["EUI-64", "ROLE", "USE", "SERIAL", "SHA-256"], rows)


@pki.command()
@home_option
@click.argument("eui64", type=EUI64, required=False)
@click.option("--to", type=click.Path(file_okay=False, path_type=Path), required=True, help="A directory.")
@click.option("--private-keys", is_flag=True, help="Their private keys as well (mode 0600), for a device under test.")
def export(home: Path, eui64: Eui64 | None, to: Path, private_keys: bool) -> None:
    """Copy the root's and everybody's certificates, or those of EUI64 alone. Existing files are not overwritten."""
    opened = Pki.open(pki_path(home))
    names = sorted(path.name for path in opened.path.glob("*-??.pem"))
    if eui64 is not None:
        names = [f"{eui64:016x}-{usage.value}.pem" for usage in Usage]
        opened.certificate(eui64, Usage.DIGITAL_SIGNATURE)
    if private_keys:
        keys = [name.removesuffix(".pem") + ".key" for name in names]
        names += [name for name in keys if (opened.path / name).exists()]
    try:
        to.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ["root.pem", *names]:
            _copy_new(opened.path / name, to / name)
    except OSError as error:
        raise StoreError(f"{to} cannot be written: {error.strerror}") from error
    talk(f"wrote {len(names) + 1} files to {to}")


def zigbee_pki(opened: Pki) -> ZigbeePki:
    return ZigbeePki(opened.path / "zigbee")


def _copy_new(source: Path, target: Path) -> None:
    if write_new(target, source.read_bytes()):
        return
    if target.read_bytes() != source.read_bytes():
        raise UsageError(f"{target} exists and is another: move it away first")
    if target.suffix == ".key":
        target.chmod(0o600)  # somebody may have copied it with wider rights
