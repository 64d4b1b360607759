"""One exported policy for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from made_policies import Made, made


@pytest.fixture(scope="session")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    with made("tracking", tmp_path_factory.mktemp("tracking")) as found:
        yield found
