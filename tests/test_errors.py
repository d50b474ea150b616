"""Errors have a code and say what is wrong."""

from spacy_clinie.errors import ClinieError


def test_errors_survive_a_process_boundary() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(ClinieError("CIE002", note="n", expected=3, found=2)))
    assert error.code == "CIE002"
    assert "3 characters in, 2 out" in str(error)
