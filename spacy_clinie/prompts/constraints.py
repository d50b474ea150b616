"""Constrained decoding: what an answer may contain, token by token.

A constraint says which token ids may come next, and collects what the answer names. It never permits an id that would
leave the schema or the text of the window. So whatever a model chooses, every mention is a span of the window, and its
offsets are known.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Optional, Protocol, Union

import numpy as np

# Ids to subtrees; a leaf is the index of a label.
LabelTree = Union[int, dict[int, Any]]

# Levels of nested concepts. No annotation scheme of this field nests deeper.
MAX_DEPTH = 4


class PromptIds(NamedTuple):
    """A prompt as token ids.

    prefix (tuple[int, ...]): The first ids, which many prompts share.
    rest (Sequence[int]): The other ids.
    """

    prefix: tuple[int, ...]
    rest: Sequence[int]


class Mention(NamedTuple):
    """A concept in an answer.

    start (int): First unit of the window.
    stop (int): One past the last unit.
    kind (int): Index of its label.
    status (str): How its offsets were found: `exact`, or `order` if the window has the same words more than once and
        the order of the answer decided. Free-text answers have more, see `grounding.GroundedMention`.
    score (float): Probability of its tokens among everything that the model could have written, 0 to 1.
    """

    start: int
    stop: int
    kind: int
    status: str
    score: float


@dataclass
class WindowIds:
    """The text of a window as token ids. A unit is a token of the Doc that has at least one id.

    ids (np.ndarray): The ids, shape (ids,).
    firsts (np.ndarray): First id of each unit, shape (units,), ascending.
    lasts (np.ndarray): One past the last id of each unit, shape (units,), ascending.
    """

    ids: np.ndarray
    firsts: np.ndarray
    lasts: np.ndarray

    def __post_init__(self) -> None:
        self.id_list: list[int] = self.ids.tolist()
        self.unit_starting_at = {int(first): unit for unit, first in enumerate(self.firsts)}
        self.unit_ending_at = {int(last): unit for unit, last in enumerate(self.lasts)}


@dataclass
class Labels:
    """How labels are written: a prefix tree of ids. A single label is not written; its tree is the index 0.

    ids (Sequence[Sequence[int]]): For each label its ids and those of the mark after it. None is a prefix of another.
    """

    ids: Sequence[Sequence[int]]
    tree: LabelTree = field(init=False)

    def __post_init__(self) -> None:
        if not self.ids[0]:
            self.tree = 0
            return
        root: dict[int, Any] = {}
        self.tree = root
        for kind, ids in enumerate(self.ids):
            node = root
            for one in ids[:-1]:
                node = node.setdefault(one, {})
            node[ids[-1]] = kind


class Constraint(Protocol):
    """Constrains an answer, and collects what it names.

    done (bool): Whether the answer has ended.
    truncated (bool): Whether generation must stop although the answer has not ended.
    found (list[Any]): What the answer has named so far: `Mention`s; of `ChoiceConstraint` the index and probability of
        each option; of `Unconstrained` the ids.
    """

    done: bool
    truncated: bool
    found: list[Any]

    def allowed(self) -> Optional[Sequence[int]]:
        """The ids that may come next: at least one until the answer is done; None for any id."""

    def advance(self, token: int, log_prob: float) -> None:
        """Append a token to the answer.

        token (int): One of the ids in `allowed`.
        log_prob (float): Log of its probability among all ids of the vocabulary.
        """

    def propose(self, limit: int) -> list[int]:
        """The ids that must or are likely to come next, so that a model can verify several in one pass.

        limit (int): Most ids to propose.
        RETURNS (list[int]): The ids; may be empty.
        """


class InlineConstraint:
    """A copy of the window with marks: in `took« aspirin»Drug» for`, an opening mark, words, a closing mark, the label.

    window (WindowIds): The window.
    labels (Labels): The labels.
    marks (tuple[int, int]): Ids of the opening and the closing mark. If the window continues with the same id, it
        counts as text of the window, so no mention can start or end there.
    end (int): Id that ends an answer.
    """

    def __init__(self, window: WindowIds, labels: Labels, marks: tuple[int, int], end: int) -> None:
        self.window, self.labels, self.marks, self.end = window, labels, marks, end
        self.position = 0
        # First unit of each open mention, and the log probability of the answer before its mark.
        self.open: list[tuple[int, float]] = []
        self.log_prob = 0.0
        self.label_node: Optional[dict] = None
        self.found: list[Mention] = []
        self.done = self.truncated = False

    def allowed(self) -> list[int]:
        if self.label_node is not None:
            return list(self.label_node)
        ids, position, (opening, closing) = self.window.id_list, self.position, self.marks
        following = ids[position] if position < len(ids) else None
        choices = []
        if following is None:
            if not self.open:
                choices.append(self.end)
        elif not self.open or position < self.window.lasts[-1]:
            choices.append(following)
        if position in self.window.unit_starting_at and following != opening and len(self.open) < MAX_DEPTH:
            choices.append(opening)
        if self._may_close() and (following != closing or not choices):
            choices.append(closing)
        return choices

    def _may_close(self) -> bool:
        unit = self.window.unit_ending_at.get(self.position)
        return bool(self.open) and unit is not None and unit >= self.open[-1][0]

    def advance(self, token: int, log_prob: float) -> None:
        self.log_prob += log_prob
        if self.label_node is not None:
            self._descend(self.label_node[token])
            return
        ids = self.window.id_list
        following = ids[self.position] if self.position < len(ids) else None
        if token == following and not (self.open and self.position >= self.window.lasts[-1]):
            self.position += 1
        elif token == self.marks[0]:
            # The opening mark counts toward the mention's score; the text copied before it does not.
            self.open.append((self.window.unit_starting_at[self.position], self.log_prob - log_prob))
        elif token == self.marks[1]:
            self._descend(self.labels.tree)
        else:
            self.done = True

    def _descend(self, node: LabelTree) -> None:
        """Go to a node of the label tree; a leaf completes the mention."""
        if isinstance(node, dict):
            self.label_node = node
            return
        self.label_node = None
        start, before = self.open.pop()
        stop = self.window.unit_ending_at[self.position] + 1
        self.found.append(Mention(start, stop, node, "exact", float(np.exp(self.log_prob - before))))

    def propose(self, limit: int) -> list[int]:
        if self.label_node is not None:
            return _forced(self.label_node, limit)
        if self.open:
            last = int(self.window.lasts[-1])
            return self.window.id_list[self.position : min(self.position + limit, last)] or [self.marks[1]][:limit]
        return [*self.window.id_list[self.position : self.position + limit], self.end][:limit]


class ListConstraint:
    """A list of mentions in text order, one per line: ` aspirin»Drug`.

    window (WindowIds): The window.
    labels (Labels): The labels.
    mark (int): Id of the mark between words and label. If the window continues with the same id, it counts as text of
        the window.
    end (int): Id that ends an answer.
    """

    def __init__(self, window: WindowIds, labels: Labels, mark: int, end: int) -> None:
        self.window, self.labels, self.mark, self.end = window, labels, mark, end
        # First id, one past the last id and label of the last mention. The next mention must be greater.
        self.last = (-1, -1, -1)
        # Ids at which the current mention may start, and how many of its ids were written.
        self.candidates: list[int] = []
        self.length = 0
        self.label_node: Optional[dict] = None
        self.log_prob = 0.0
        self.found: list[Mention] = []
        self.done = self.truncated = False
        self.starts = [first for first in self.window.firsts.tolist() if first < len(self.window.id_list)]

    def allowed(self) -> list[int]:
        if self.label_node is not None:
            return [token for token, node in self.label_node.items() if self._is_new(node)]
        ids = self.window.id_list
        if not self.length:
            starts = {ids[at] for at in self.starts if self._may_start(at)}
            return [self.end, *sorted(starts - {self.end})]
        choices = {ids[at + self.length] for at in self.candidates if at + self.length < self.window.lasts[-1]}
        if self.mark not in choices and any(self._may_end(at) for at in self.candidates):
            choices.add(self.mark)
        return sorted(choices)

    def _may_start(self, at: int) -> bool:
        """Whether a mention that starts at an id can still come after the last one."""
        start, stop, kind = self.last
        can_be_greater = self.window.lasts[-1] > stop or kind < len(self.labels.ids) - 1
        return at > start or (at == start and can_be_greater)

    def _may_end(self, at: int, kind: Optional[int] = None) -> bool:
        """Whether a mention that starts at an id may end here, with any label or with a given one."""
        key = (at, at + self.length)
        if key[1] not in self.window.unit_ending_at:
            return False
        if key > self.last[:2]:
            return True
        return key == self.last[:2] and self.last[2] < (len(self.labels.ids) - 1 if kind is None else kind)

    def _is_new(self, node: LabelTree) -> bool:
        """Whether any label below a node makes a mention that was not listed yet."""
        if isinstance(node, dict):
            return any(self._is_new(below) for below in node.values())
        return any(self._may_end(at, node) for at in self.candidates)

    def advance(self, token: int, log_prob: float) -> None:
        self.log_prob += log_prob
        ids, last = self.window.id_list, self.window.lasts[-1]
        if self.label_node is not None:
            self._descend(self.label_node[token])
            return
        if not self.length:
            if token == self.end:
                self.done = True
                return
            self.candidates = [at for at in self.starts if ids[at] == token and self._may_start(at)]
            self.length = 1
            return
        longer = [at for at in self.candidates if at + self.length < last and ids[at + self.length] == token]
        if longer:
            self.candidates, self.length = longer, self.length + 1
        else:
            self.candidates = [at for at in self.candidates if self._may_end(at)]
            self._descend(self.labels.tree)

    def _descend(self, node: LabelTree) -> None:
        """Go to a node of the label tree; a leaf completes the mention."""
        if isinstance(node, dict):
            self.label_node = node
            return
        fitting = [at for at in self.candidates if self._may_end(at, node)]
        at = fitting[0]
        self.last = (at, at + self.length, node)
        start, stop = self.window.unit_starting_at[at], self.window.unit_ending_at[at + self.length] + 1
        status = "exact" if len(fitting) == 1 else "order"
        self.found.append(Mention(start, stop, node, status, float(np.exp(self.log_prob))))
        self.candidates, self.length, self.label_node, self.log_prob = [], 0, None, 0.0

    def propose(self, limit: int) -> list[int]:
        if self.label_node is not None:
            return _forced(self.label_node, limit)
        if self.length:
            at = self.candidates[0] + self.length
            return self.window.id_list[at : min(at + limit, int(self.window.lasts[-1]))]
        return []


class ChoiceConstraint:
    """Some of a list of options, each at most once and in the order of the list.

    options (Sequence[Sequence[int]]): Ids of each. None is a prefix of another.
    end (int): Id that ends an answer.
    """

    def __init__(self, options: Sequence[Sequence[int]], end: int) -> None:
        self.options, self.end = options, end
        self.active = list(range(len(options)))
        self.length = 0
        self.log_prob = 0.0
        self.found: list[tuple[int, float]] = []
        self.done = self.truncated = False

    def allowed(self) -> list[int]:
        choices = sorted({self.options[i][self.length] for i in self.active})
        return choices if self.length else [self.end, *choices]

    def advance(self, token: int, log_prob: float) -> None:
        self.log_prob += log_prob
        if not self.length and token == self.end:
            self.done = True
            return
        self.active = [i for i in self.active if self.options[i][self.length] == token]
        self.length += 1
        if len(self.options[self.active[0]]) == self.length:
            chosen = self.active[0]
            self.found.append((chosen, float(np.exp(self.log_prob))))
            self.active, self.length, self.log_prob = list(range(chosen + 1, len(self.options))), 0, 0.0

    def propose(self, limit: int) -> list[int]:
        if not self.length or len(self.active) != 1:
            return []
        return list(self.options[self.active[0]][self.length : self.length + limit])


class Unconstrained:
    """Any text. What it names has to be found in the window afterwards, see `grounding`.

    max_tokens (int): Most ids of an answer.
    end (int): Id that ends an answer.
    """

    def __init__(self, max_tokens: int, end: int) -> None:
        self.max_tokens, self.end = max_tokens, end
        self.log_prob = 0.0
        self.found: list[int] = []
        self.done = self.truncated = False

    def allowed(self) -> None:
        return None

    def advance(self, token: int, log_prob: float) -> None:
        self.log_prob += log_prob
        self.done = token == self.end
        if not self.done:
            self.found.append(token)
            self.truncated = len(self.found) == self.max_tokens

    def propose(self, limit: int) -> list[int]:  # noqa: ARG002
        return []

    @property
    def score(self) -> float:
        """Geometric mean of the probabilities of the answer's tokens."""
        return float(np.exp(self.log_prob / (len(self.found) + 1)))


def _forced(node: LabelTree, limit: int) -> list[int]:
    """The ids that a label tree leaves no choice about."""
    forced: list[int] = []
    while isinstance(node, dict) and len(node) == 1 and len(forced) < limit:
        ((token, node),) = node.items()
        forced.append(token)
    return forced
