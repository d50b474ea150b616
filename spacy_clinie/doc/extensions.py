"""Extensions of other components (`ent._.negex`), read off concepts.

spaCy keeps the value of a plain extension in `doc.user_data`. The key is a tuple: a mark, the name, first character and
end. A token has no end there, and a Doc neither.
"""

import json
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
from spacy.tokens import Doc, Span, Token
from spacy.tokens.underscore import Underscore

from ..errors import ClinieError
from .note import attributes_of

# Ours, and the vectors of spacy-transformers and curated-transformers.
_NOT_READ = {"rel", "trf_data"}
_MARK = "._."


def registered() -> list[str]:
    """The names of the extensions that can be read: of a Span, a Token or a Doc, with a value or a getter.

    RETURNS (list[str]): In alphabetical order, without ours.
    """
    kinds = (Underscore.span_extensions, Underscore.token_extensions, Underscore.doc_extensions)
    names = {name for kind in kinds for name, (_, method, _, _) in kind.items() if method is None}
    return sorted(name for name in names - _NOT_READ if name.isidentifier())


def check_registered(names: Sequence[str]) -> None:
    """Refuse names that no extension has.

    names (Sequence[str]): The names.
    RAISES (ClinieError): CIE452 for the first that cannot be read.
    """
    known = registered()
    for name in names:
        if name not in known:
            raise ClinieError("CIE452", name=name, known=", ".join(known) or "none")


def names_on(doc: Doc) -> set[str]:
    """The names of the extensions that other components set on a Doc, its spans or its tokens.

    doc (Doc): The Doc.
    RETURNS (set[str]): Those of which a value was set, and those of spans with a getter where there are entities.
    """
    found = {str(key[1]) for key in doc.user_data if isinstance(key, tuple) and key[:1] == (_MARK,)}
    if doc.ents:
        found |= {name for name, (_, _, getter, _) in Underscore.span_extensions.items() if getter is not None}
    return found - _NOT_READ


def attributes_from(span: Span, names: Sequence[str], flat: Collection[tuple[int, int]]) -> dict[str, str]:
    """The values of extensions at a span, as attributes of a concept.

    An extension of Span comes first, then one of Token, read at the first token, then one of Doc. A default says
    something only of what a component looked at: it is no attribute of a span that is not in `doc.ents`.

    span (Span): The span of a concept.
    names (Sequence[str]): The names of registered extensions.
    flat (Collection[tuple[int, int]]): First token and end of each of `doc.ents`.
    RETURNS (dict[str, str]): Text by name, in one line; nothing for None and for empty text.
    RAISES (ClinieError): CIE453 for a value that has no text.
    """
    found = {name: _plain(name, value) for name, value in _values(span, names, flat)}
    texts = {name: " ".join(value.split()) for name, value in attributes_of(found).items()}
    return {name: text.encode("utf-8", "replace").decode("utf-8") for name, text in texts.items() if text}


def _values(span: Span, names: Sequence[str], flat: Collection[tuple[int, int]]) -> Iterator[tuple[str, Any]]:
    for name in names:
        if Span.has_extension(name):
            key: Any = (_MARK, name, span.start_char, span.end_char)
            is_default = Span.get_extension(name)[2] is None and key not in span.doc.user_data
            if not is_default or (span.start, span.end) in flat:
                yield name, span._.get(name)
        else:
            yield name, (span[0] if Token.has_extension(name) else span.doc)._.get(name)


def _plain(name: str, value: Any) -> Any:
    """A value as JSON can write it, in the same way each time."""
    try:
        return json.loads(json.dumps(value, default=_simple))
    except (TypeError, ValueError, RecursionError):
        raise ClinieError("CIE453", name=name, kind=type(value).__name__) from None


def _simple(value: Any) -> Any:
    if isinstance(value, (Doc, Span, Token)):
        return value.text
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    raise TypeError
