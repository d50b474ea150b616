"""Notes as plain data."""

import pytest

from spacy_clinie.doc.note import Note
from spacy_clinie.errors import ClinieError


def test_a_record_without_what_it_needs_is_refused() -> None:
    with pytest.raises(ClinieError, match=r"CIE005.*start is missing"):
        Note.from_dict({"id": "n1", "text": "Rash.", "concepts": [{"label": "zyxomab"}]})
    with pytest.raises(ClinieError, match=r"CIE005.*tail is missing"):
        Note.from_dict({"id": "n1", "text": "Rash.", "relations": [{"head": "a"}]})
