"""`chf image`: firmware images, as files (build, inspect, verify) and in the hub's store (`image_stored`).

Opens files and prints; what an image is, and whether it is sound, is decided in `chf.image`.
"""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chf.cli.image_options import (
    IMAGE_FILE,
    DigestParameter,
    HexParameter,
    certificate_option,
    kind_option,
    limit_option,
    load_image,
    load_signer,
    load_zigbee_authority,
    read_at_most,
    zigbee_ca_option,
)
from chf.cli.image_stored import add, list_images, remove
from chf.cli.options import json_option, print_json, print_table, talk
from chf.errors import MalformedImageError, UsageError
from chf.files import write_whole
from chf.image.image import ImageKind, parse_image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chf.image.checks import Check
    from chf.image.recipe import Recipe

_RECIPE_LIMIT_BYTES = 1 << 20


@click.group()
def image() -> None:
    """Firmware images: build, inspect and verify files; add, list and remove what the hub may send."""


image.add_command(add)
image.add_command(list_images)
image.add_command(remove)


@image.command()
@click.argument("recipe", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write the image; by default the name that ZigBee suggests, in this directory.",
)
@click.option(
    "--public-key",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the public key to check the signature with: the supplier's, or the ZigBee CA's.",
)
@limit_option
@json_option
def build(recipe: Path, output: Path | None, public_key: Path | None, limit_bytes: int, as_json: bool) -> None:
    """Build the image that RECIPE describes: the same bytes every time.

    A recipe with a [fault] builds a damaged image on purpose, and says what is wrong with it.
    """
    from chf.image.build import build_image, suggested_file_name
    from chf.image.recipe import parse_recipe

    parsed = parse_recipe(_text(recipe))
    content = build_image(parsed, partial(_read_beside, recipe))
    refusal: MalformedImageError | None = None
    name = f"{recipe.stem}.zigbee"
    try:
        name = suggested_file_name(parse_image(content, kind=parsed.kind, limit_bytes=limit_bytes))
    except MalformedImageError as error:
        if parsed.fault is None:
            raise
        refusal = error
    target = output or Path(name)
    if public_key is not None:
        write_whole(public_key, _public_key(parsed, recipe))
    write_whole(target, content)
    _report_build(target, content, refusal, as_json=as_json)


@image.command()
@click.argument("file", type=IMAGE_FILE)
@certificate_option
@zigbee_ca_option
@kind_option
@limit_option
@json_option
def inspect(
    *,
    file: Path,
    certificate: Path | None,
    zigbee_ca: str | None,
    kind: ImageKind | None,
    limit_bytes: int,
    as_json: bool,
) -> None:
    """Say what FILE is (- for standard input): kind, versions, sizes, hashes, signatures, sub-elements."""
    from chf.image import inspection

    signer, authority = load_signer(certificate), load_zigbee_authority(zigbee_ca)
    read = load_image(file, kind=kind, limit_bytes=limit_bytes)
    if as_json:
        print_json(inspection.as_json(read, signer, authority))
    else:
        rows = inspection.as_rows(read, signer, authority)
        print_table(("Field", "Value"), [(row.label, row.value) for row in rows])


@image.command()
@click.argument("file", type=click.Path(exists=True, allow_dash=True, path_type=Path))
@certificate_option
@zigbee_ca_option
@click.option("--sha256", type=DigestParameter(), help="The SHA-256 that the whole file must have.")
@click.option("--manufacturer-image-hash", type=DigestParameter(), help="As the Central Products List has it.")
@click.option("--file-version", type=HexParameter(8), help="The version that the header must carry.")
@click.option("--hardware-version", type=HexParameter(4), help="A version that the image must be for.")
@kind_option
@limit_option
@json_option
@click.pass_context
def verify(
    ctx: click.Context,
    *,
    file: Path,
    certificate: Path | None,
    zigbee_ca: str | None,
    sha256: str | None,
    manufacturer_image_hash: str | None,
    file_version: int | None,
    hardware_version: int | None,
    kind: ImageKind | None,
    limit_bytes: int,
    as_json: bool,
) -> None:
    """Check FILE (- for standard input), every check listed; or each file below a directory, a line each.

    Exit code 0: all passed, 1: one did not.
    """
    from chf.image.checks import Check, Expectation, check_image

    signer, authority = load_signer(certificate), load_zigbee_authority(zigbee_ca)
    expected = Expectation(sha256, manufacturer_image_hash, file_version, hardware_version, signer, authority)

    def judged(path: Path) -> "tuple[Check, ...]":
        try:
            return check_image(load_image(path, kind=kind, limit_bytes=limit_bytes), expected)
        except MalformedImageError as error:
            return (Check("structure", passed=False, detail=str(error)),)

    if file.is_dir():
        paths = sorted(path for path in file.rglob("*") if path.is_file())
        with click.progressbar(paths, label="images", file=sys.stderr) as shown:
            every = {path: judged(path) for path in shown}
        if as_json:
            print_json({"schema": 1, "directory": str(file), "files": [_as_json(*item) for item in every.items()]})
        else:
            _print_files(file, every)
    else:
        every = {file: judged(file)}
        if as_json:
            print_json({"schema": 1, **_as_json(file, every[file])})
        else:
            _print_checks(every[file])
    ctx.exit(0 if all(map(_passed, every.values())) else 1)


def _passed(checks: "Sequence[Check]") -> bool:
    return all(check.passed is not False for check in checks)


def _as_json(path: Path, checks: "Sequence[Check]") -> "Mapping[str, object]":
    rows = [{"name": check.name, "passed": check.passed, "detail": check.detail} for check in checks]
    return {"file": str(path), "passed": _passed(checks), "checks": rows}


def _print_files(directory: Path, every: "Mapping[Path, Sequence[Check]]") -> None:
    """What each is, or the first check that it fails."""
    rows = []
    for path, checks in every.items():
        told = next((check for check in checks if check.passed is False), checks[0])
        word = "ok" if told.passed else "FAILED"
        rows.append((str(path.relative_to(directory)), word, f"{told.name}: {told.detail}"))
    print_table(("File", "Result", "Detail"), rows)
    talk(f"{sum(map(_passed, every.values()))} of {len(every)} files are sound")


def _print_checks(checks: "Sequence[Check]") -> None:
    words = {True: "ok", False: "FAILED", None: "not checked"}
    print_table(("Check", "Result", "Detail"), [(check.name, words[check.passed], check.detail) for check in checks])


def _report_build(target: Path, content: bytes, refusal: MalformedImageError | None, *, as_json: bool) -> None:
    from hashlib import sha256

    digest = sha256(content).hexdigest()
    if as_json:
        refused = (
            None if refusal is None else {"field": refusal.field, "offset": refusal.offset, "reason": str(refusal)}
        )
        print_json({"schema": 1, "file": str(target), "bytes": len(content), "sha256": digest, "refused": refused})
        return
    click.echo(f"{digest}  {target}")
    talk(f"{len(content)} bytes written to {target}")
    if refusal is not None:
        talk(f"damaged on purpose: {refusal}")


def _text(recipe: Path) -> str:
    octets = read_at_most(recipe, _RECIPE_LIMIT_BYTES + 1)
    if len(octets) > _RECIPE_LIMIT_BYTES:
        raise UsageError(f"{recipe} is too large to be a recipe")
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise UsageError(f"{recipe} is not a recipe: recipes are TOML in UTF-8") from None


def _read_beside(recipe: Path, name: str) -> bytes:
    """A file that a recipe names: relative to the recipe, and no larger than any payload may be."""
    from chf.image.build import MAX_PAYLOAD_BYTES

    octets = read_at_most(recipe.parent / name, MAX_PAYLOAD_BYTES + 1)
    if len(octets) > MAX_PAYLOAD_BYTES:
        raise UsageError(f"{name} is larger than {MAX_PAYLOAD_BYTES} bytes")
    return octets


def _public_key(parsed: "Recipe", recipe: Path) -> bytes:
    from chf.image.build import signing_key
    from chf.image.signature import public_key_pem
    from chf.image.zigbee_signature import authority_text, seeded_authority

    wanted = parsed.zigbee_signature
    if wanted is not None:
        return authority_text(seeded_authority(wanted.suite, wanted.key_seed, wanted.issuer)).encode()
    if parsed.signature is None:
        raise UsageError("this recipe signs nothing: there is no public key to write")
    return public_key_pem(signing_key(parsed.signature, partial(_read_beside, recipe)))
