"""The exceptions of cmbnet. Each knows the exit code of a command that ends with it.

An error message says what was required, what was got, in which file, and what to do.
"""

from __future__ import annotations


class CmbnetError(Exception):
    """A fault that cmbnet explains in one line; commands end with `exit_code`."""

    exit_code = 4


class UsageError(CmbnetError):
    """The caller asked for something that does not exist or does not fit together."""

    exit_code = 2


class InputRefused(CmbnetError):
    """The input was read and understood, but cmbnet will not answer on it."""

    exit_code = 3


class UnreadableFile(CmbnetError):
    """A file is missing, truncated, corrupted, or not of the kind it claims to be."""


class MissingExtra(CmbnetError):
    """An optional dependency is not installed.

    Args:
        package: Import name of what is missing, for example ``"openvino"``.
        extra: The extra of cmbnet that installs it, for example ``"openvino"``.
        purpose: What it is needed for, completing the sentence "is needed ...".
    """

    exit_code = 2

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{package} is needed {purpose} and is not installed: pip install 'cmbnet[{extra}]'"
        )


class BundleError(CmbnetError):
    """A model bundle is incomplete, altered, or made for another version of cmbnet."""
