"""Reading and writing of images, on the grid of their acquisition."""

from cmbnet.io.atomic import link_or_copy, write_bytes_atomically, write_text_atomically
from cmbnet.io.nifti import read_nifti
from cmbnet.io.nifti_write import write_nifti
from cmbnet.io.table import table_csv

__all__ = [
    "link_or_copy",
    "read_nifti",
    "table_csv",
    "write_bytes_atomically",
    "write_nifti",
    "write_text_atomically",
]
