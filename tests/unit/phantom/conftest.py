from __future__ import annotations

import pytest

from cmbnet.phantom.anatomy import Anatomy, make_anatomy
from cmbnet.phantom.case import PhantomCase, make_case


@pytest.fixture(scope="session")
def head() -> Anatomy:
    return make_anatomy("procedural", 1, 0.5)


@pytest.fixture(scope="session")
def positive() -> PhantomCase:
    return make_case(1, positive=True, anatomy="procedural", lesion_count=6)


@pytest.fixture(scope="session")
def control() -> PhantomCase:
    return make_case(2, positive=False, anatomy="procedural", anatomy_seed=1)
