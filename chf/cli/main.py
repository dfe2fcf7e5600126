"""The `chf` command: nouns, loaded when they are named, and the one place where an error becomes an exit code."""

import importlib
import sys
from collections.abc import Sequence

import click

from chf import __version__
from chf.errors import ChfError, one_error
from chf.view import printable

INTERRUPTED = 130  # what shells use for a program that SIGINT ended: 128 + 2

_NOUNS = {
    "alert": ("chf.cli.alert", "Alerts that devices and the hub sent to the DCC."),
    "clock": ("chf.cli.clock", "Whether the wall clock is trusted, and why not."),
    "dcc": ("chf.cli.dcc.group", "The DCC side: service requests in, answers and alerts out, test PKI."),
    "demo": ("chf.cli.demo", "The whole story on a virtual dongle, no hardware."),
    "device": ("chf.cli.device", "The device log: who may be on this hub's network."),
    "doctor": ("chf.cli.doctor", "What may keep a hub from running here, and what to do."),
    "gbcs": ("chf.cli.gbcs", "Read GBCS messages."),
    "image": ("chf.cli.image", "Firmware images: build, inspect, verify, store."),
    "radio": ("chf.cli.radio", "The dongle: who answers, which network."),
    "report": ("chf.cli.report", "What became of updates: text, one HTML file, JUnit, JSON."),
    "run": ("chf.cli.run", "Run the hub on a dongle."),
    "store": ("chf.cli.store", "What is kept, and for how long."),
    "update": ("chf.cli.update", "Firmware updates: start, follow, cancel."),
    "watch": ("chf.cli.watch", "A live table of what the hub is doing."),
}


class LazyNouns(click.Group):
    """Knows every noun and its one line of help, and imports only the one that is used: `chf --help` stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return sorted(_NOUNS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _NOUNS:
            return None
        module = importlib.import_module(_NOUNS[cmd_name][0])
        command = getattr(module, cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(noun, line) for noun, (_, line) in sorted(_NOUNS.items())])


@click.group(cls=LazyNouns, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="chf")
def chf() -> None:
    """Update the firmware of PPMIDs, HCALCSs and meters like a Communications Hub, on a real or virtual ZigBee dongle.

    Results go to stdout, talk to stderr. Exit codes: 0 done, 1 failed, 2 usage, 3 refused, 4 timed out, 5 radio gone.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    try:
        code = chf.main(args=arguments, prog_name="chf", standalone_mode=False)
    except BaseExceptionGroup as group:
        code = _exit_code(one_error(group))
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 what is no fault of anybody's is raised again
        code = _exit_code(error)
    sys.exit(code if isinstance(code, int) else 0)


def _exit_code(error: BaseException) -> int:
    """Tell the person what went wrong. Raises what only a programmer could do something about."""
    match error:
        case click.Abort() | KeyboardInterrupt():
            return INTERRUPTED
        case click.ClickException():
            error.show()
            return error.exit_code
        case ChfError():
            click.echo(printable(f"chf: {error}", lines=True), err=True)
            return error.exit_code
        case BrokenPipeError():
            return 0  # the reader of our output has seen enough
        case OSError():  # a disk, a directory or a terminal that fails is no fault of the program
            where = "" if error.filename is None else f"{error.filename}: "
            click.echo(printable(f"chf: {where}{error.strerror or error}"), err=True)
            return ChfError.exit_code
        case _:
            raise error


if __name__ == "__main__":
    main()
