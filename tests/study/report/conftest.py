"""An invented study, to be filled."""

from pathlib import Path

import pytest

from .study_maker import StudyMaker


@pytest.fixture
def maker(tmp_path: Path) -> StudyMaker:
    return StudyMaker(tmp_path / "study")
