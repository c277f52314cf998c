"""The command line: parse, call, print. No logic lives here.

Commands are listed by name and imported when asked for, so that ``cmbnet --help`` is quick.
"""

from __future__ import annotations

import importlib
import sys

import click

from cmbnet import RESEARCH_USE_ONLY, __version__
from cmbnet.errors import CmbnetError, printable

COMMANDS: dict[str, tuple[str, str]] = {
    "adapt": ("cmbnet.cli.adapt", "Let a model learn from the reviewed scans of a site."),
    "backends": ("cmbnet.cli.backends", "List the runtimes that can run a model here."),
    "bench": ("cmbnet.cli.bench", "Time every backend on the same scan."),
    "bids": ("cmbnet.cli.bids", "Find microbleeds in a BIDS data set, as a BIDS App."),
    "calibrate": ("cmbnet.cli.calibrate", "Choose thresholds on the labelled scans of a site."),
    "card": ("cmbnet.cli.card", "Write the model card of a bundle."),
    "check-data": ("cmbnet.cli.check_data", "Find the faults of a labelled data set."),
    "compare": ("cmbnet.cli.compare", "Say which microbleeds are new since an earlier scan."),
    "demo": ("cmbnet.cli.demo", "Make a phantom scan, find its microbleeds, open the report."),
    "dicom": ("cmbnet.cli.dicom", "Explain which DICOM series is read, and why."),
    "edge": ("cmbnet.cli.edge", "Run the node beside the scanner: DICOM in, SEG and SR out."),
    "evaluate": ("cmbnet.cli.evaluate", "Score predictions against a reference."),
    "export": ("cmbnet.cli.export", "Turn a model into the files that other runtimes read."),
    "phantom": ("cmbnet.cli.phantom", "Write digital SWI phantoms with ground truth."),
    "predict": ("cmbnet.cli.predict", "Find microbleeds on SWI scans."),
    "prepare": ("cmbnet.cli.prepare", "Prepare a labelled data set for training."),
    "readers": ("cmbnet.cli.readers", "Analyse a reader study of the model's output."),
    "review": ("cmbnet.cli.review", "Judge found microbleeds on a page, and add missed ones."),
    "swi": ("cmbnet.cli.swi", "Make an SWI from magnitude and phase."),
    "triton": ("cmbnet.cli.triton", "Look after a Triton server that runs cmbnet."),
    "train": ("cmbnet.cli.train", "Train a model from a recipe."),
    "train-brain": ("cmbnet.cli.train_brain", "Train the network of the brain mask."),
}
"""Command name -> (module that holds `command`, one line for ``cmbnet --help``)."""


class LazyGroup(click.Group):
    """A click group whose commands are imported when they are run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in order."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command by its name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        command.name = cmd_name  # click has named it after its function
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table above without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.group(cls=LazyGroup, epilog=RESEARCH_USE_ONLY)
@click.version_option(__version__, prog_name="cmbnet")
def group() -> None:
    """Find and measure cerebral microbleeds on susceptibility-weighted MRI."""


_FLAGS = {"bundle": "--model", "output": "-o"}
"""Arguments of the library whose flags have other names."""


def with_flag(message: str, argument: str) -> str:
    """Add the flag of an argument to a message of the library."""
    if not argument:
        return message
    return f"{message} ({_FLAGS.get(argument, '--' + argument.replace('_', '-'))})"


def run(command: click.Command, name: str, args: list[str] | None = None) -> None:
    """Run a command. A fault becomes a line on stderr and an exit code."""
    try:
        command.main(args=args, prog_name=name)
    except CmbnetError as error:
        click.echo(f"{name}: {with_flag(str(error), error.argument)}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:  # a full disk, a folder that may not be written
        file = f"{error.filename}: " if error.filename else ""
        click.echo(f"{name}: {printable(f'{file}{error.strerror or error}')}", err=True)
        sys.exit(CmbnetError.exit_code)


def main(args: list[str] | None = None) -> None:
    """Run ``cmbnet``."""
    run(group, "cmbnet", args)


def main_train() -> None:
    """Run ``cmbnet-train``, which is ``cmbnet train``."""
    run(importlib.import_module(COMMANDS["train"][0]).command, "cmbnet-train")


def main_export() -> None:
    """Run ``cmbnet-export``, which is ``cmbnet export``."""
    run(importlib.import_module(COMMANDS["export"][0]).command, "cmbnet-export")
