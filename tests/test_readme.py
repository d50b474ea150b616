"""What README shows does what it says."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def test_the_first_lines_of_python_find_concepts(capsys: pytest.CaptureFixture[str]) -> None:
    first = re.search(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert first
    exec(first[1], {})
    assert "('metformin', 'treatment'), ('type 2 diabetes', 'problem')" in capsys.readouterr().out
