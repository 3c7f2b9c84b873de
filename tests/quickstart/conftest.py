import os
from collections.abc import Iterator

import pytest
from shop_helpers import Services, running

from tutelage.world import ROOT_VARIABLE


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    worlds = tmp_path_factory.mktemp("worlds")
    environment = {**os.environ, ROOT_VARIABLE: str(worlds)}
    with (
        running("tutelage.quickstart.shop", "--http", environment=environment) as shop,
        running("tutelage.quickstart.teacher", environment=environment) as teacher,
    ):
        yield Services(f"{shop}/mcp", f"{teacher}/v1", worlds)
