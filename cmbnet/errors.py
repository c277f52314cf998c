"""The exceptions of cmbnet. Each knows the exit code of a command that ends with it.

An error message says what was required, what was got, in which file, and what to do.
"""

from __future__ import annotations

from importlib.util import find_spec


def printable(text: str) -> str:
    r"""Put a text on one line, and replace unprintable characters by their codes.

    Names of files and values of headers may hold sequences that move a terminal's cursor, and
    bytes that are not UTF-8.

    Examples:
        >>> print(printable("a\x1b[2Jb\nc"))
        a\x1b[2Jb c
    """
    line = " ".join(text.splitlines())
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in line
    )


class CmbnetError(Exception):
    """A fault that cmbnet explains in one line. A command ends with its `exit_code`.

    Args:
        message: The explanation.
        argument: Name of the argument by which the caller can decide otherwise, if there is one.
            The command line says which flag that is.
    """

    exit_code = 4

    def __init__(self, message: str = "", *, argument: str = "") -> None:
        super().__init__(message)
        self.argument = argument

    def __str__(self) -> str:
        """Return the message, made safe for a terminal."""
        return printable(super().__str__())


class UsageError(CmbnetError):
    """The caller asked for something that does not exist or does not fit together."""

    exit_code = 2


class InputRefused(CmbnetError):
    """The input was read and understood, but cmbnet refuses to analyse it."""

    exit_code = 3


class UnreadableFile(CmbnetError):
    """A file is missing, truncated, corrupted, or not of the kind it claims to be."""


class MissingExtra(CmbnetError):
    """An optional dependency is not installed.

    Args:
        package: Import name of the missing package, for example ``"openvino"``.
        extra: The extra of cmbnet that installs it, for example ``"openvino"``.
        purpose: End of the sentence "is needed ...", for example "to write DICOM".
    """

    exit_code = 2

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{package} is needed {purpose} and is not installed: pip install 'cmbnet[{extra}]'"
        )


def require(*packages: str, extra: str, purpose: str) -> None:
    """Check that optional dependencies are installed. `MissingExtra` describes the arguments.

    Raises:
        MissingExtra: If one is not installed. It names the first.
    """
    for package in packages:
        if find_spec(package) is None:
            raise MissingExtra(package, extra, purpose)


class BundleError(CmbnetError):
    """A model bundle is incomplete, altered, or made for another version of cmbnet."""
