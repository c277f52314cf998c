"""``python -m cmbnet`` is ``cmbnet``."""

from cmbnet.cli import main

main()
