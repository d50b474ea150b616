"""What is asked, and what an answer may look like, as machines over token ids: they say which id may come next, and
read off mentions.

A machine never offers an id that would leave the schema or the text of its window, so that whatever a model chooses,
every mention is a stretch of the window, known by its place and not by its words.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Optional, Protocol, Union

import numpy as np

Tree = Union[int, dict[int, Any]]

# Concepts within concepts. Deeper nesting is no annotation scheme of this field.
DEEPEST = 4


class Ask(NamedTuple):
    """A prompt.

    before (tuple[int, ...]): Ids that many prompts begin with.
    rest (Sequence[int]): The other ids.
    """

    before: tuple[int, ...]
    rest: Sequence[int]


class Mention(NamedTuple):
    """A concept in an answer.

    start (int): First unit of the window.
    stop (int): One past the last unit.
    kind (int): Index of its label.
    status (str): How its place was found: `exact`, or `order` where the same words stand there more than once and
        the order of the answer decided; more where the answer was free, see `grounding.Grounded`.
    score (float): Probability of the choices that made it, among all that the model might have written, 0 to 1.
    """

    start: int
    stop: int
    kind: int
    status: str
    score: float


@dataclass
class WindowIds:
    """The text of a window as token ids. A unit is a token of the Doc that at least one id stands for.

    ids (np.ndarray): The ids, shape (ids,).
    firsts (np.ndarray): First id of each unit, shape (units,), ascending.
    lasts (np.ndarray): One past the last id of each unit, shape (units,), ascending.
    """

    ids: np.ndarray
    firsts: np.ndarray
    lasts: np.ndarray

    def __post_init__(self) -> None:
        self.list: list[int] = self.ids.tolist()
        self.opens = {int(first): unit for unit, first in enumerate(self.firsts)}
        self.closes = {int(last): unit for unit, last in enumerate(self.lasts)}


@dataclass
class Labels:
    """How labels are written: a tree of ids, or the index of the only label where it is not written at all.

    ids (Sequence[Sequence[int]]): For each label its ids and those of the mark behind it; none begins another.
    """

    ids: Sequence[Sequence[int]]
    tree: Tree = field(init=False)

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


class Machine(Protocol):
    """Reads an answer id by id.

    done (bool): Whether the answer has ended.
    cut (bool): Whether it is not to go on, though it has not ended.
    found (list[Any]): What it named: `Mention`s, or for `Choices` the index and the probability of each.
    """

    done: bool
    cut: bool
    found: list[Any]

    def allowed(self) -> Optional[Sequence[int]]:
        """The ids that may come next; at least one, until it is done. None for any id."""

    def take(self, chosen: int, log: float) -> None:
        """Go on with an id.

        chosen (int): One of `allowed`.
        log (float): Log of its probability, among all ids.
        """

    def guess(self, most: int) -> list[int]:
        """The ids that are forced or likely to come next, for checking many in one pass.

        most (int): How many at most.
        RETURNS (list[int]): May be empty.
        """


class Inline:
    """Copies a window with marks: `took« aspirin»Drug» for` has the open mark, a stretch, the close mark, the label.

    window (WindowIds): The window.
    labels (Labels): The labels.
    marks (tuple[int, int]): Ids of the open and the close mark. Where the window goes on with the same id, it is
        read as the window's: such a mention cannot be marked.
    end (int): Id that ends an answer.
    """

    def __init__(self, window: WindowIds, labels: Labels, marks: tuple[int, int], end: int) -> None:
        self.window, self.labels, self.marks, self.end = window, labels, marks, end
        self.at = 0
        self.open: list[tuple[int, float]] = []
        self.log = 0.0
        self.node: Optional[dict] = None
        self.found: list[Mention] = []
        self.done = self.cut = False

    def allowed(self) -> list[int]:
        if self.node is not None:
            return list(self.node)
        source, at, (begin, finish) = self.window.list, self.at, self.marks
        following = source[at] if at < len(source) else None
        choices = []
        if following is None:
            if not self.open:
                choices.append(self.end)
        elif not self.open or at < self.window.lasts[-1]:
            choices.append(following)
        if at in self.window.opens and following != begin and len(self.open) < DEEPEST:
            choices.append(begin)
        if self._may_close() and (following != finish or not choices):
            choices.append(finish)
        return choices

    def _may_close(self) -> bool:
        unit = self.window.closes.get(self.at)
        return bool(self.open) and unit is not None and unit >= self.open[-1][0]

    def take(self, chosen: int, log: float) -> None:
        self.log += log
        if self.node is not None:
            self._label(self.node[chosen])
            return
        following = self.window.list[self.at] if self.at < len(self.window.list) else None
        if chosen == following and not (self.open and self.at >= self.window.lasts[-1]):
            self.at += 1
        elif chosen == self.marks[0]:
            # What it cost to open belongs to the mention; what was copied before does not.
            self.open.append((self.window.opens[self.at], self.log - log))
        elif chosen == self.marks[1]:
            self._label(self.labels.tree)
        else:
            self.done = True

    def _label(self, below: Tree) -> None:
        """Go down the tree of labels; at a leaf the mention is complete."""
        if isinstance(below, dict):
            self.node = below
            return
        self.node = None
        start, before = self.open.pop()
        stop = self.window.closes[self.at] + 1
        self.found.append(Mention(start, stop, below, "exact", float(np.exp(self.log - before))))

    def guess(self, most: int) -> list[int]:
        if self.node is not None:
            return _only_way(self.node, most)
        if self.open:
            last = int(self.window.lasts[-1])
            return self.window.list[self.at : min(self.at + most, last)] or [self.marks[1]][:most]
        return [*self.window.list[self.at : self.at + most], self.end][:most]


class Listed:
    """Lists mentions in the order of their appearance: ` aspirin»Drug` on a line each, until the end.

    window (WindowIds): The window.
    labels (Labels): The labels.
    mark (int): Id of the mark between words and label. Where the window goes on with the same id, it is read as the
        window's.
    end (int): Id that ends an answer.
    """

    def __init__(self, window: WindowIds, labels: Labels, mark: int, end: int) -> None:
        self.window, self.labels, self.mark, self.end = window, labels, mark, end
        # First and one past the last id, and label, of the last mention: the next one comes later in this order.
        self.last = (-1, -1, -1)
        self.places: list[int] = []
        self.length = 0
        self.node: Optional[dict] = None
        self.log = 0.0
        self.found: list[Mention] = []
        self.done = self.cut = False
        self.starts = [first for first in self.window.firsts.tolist() if first < len(self.window.list)]

    def allowed(self) -> list[int]:
        if self.node is not None:
            return [one for one, below in self.node.items() if self._leads_on(below)]
        source = self.window.list
        if not self.length:
            starts = {source[at] for at in self.starts if self._finishes(at)}
            return [self.end, *sorted(starts - {self.end})]
        ways = {source[at + self.length] for at in self.places if at + self.length < self.window.lasts[-1]}
        if self.mark not in ways and any(self._closes(at) for at in self.places):
            ways.add(self.mark)
        return sorted(ways)

    def _finishes(self, at: int) -> bool:
        """Whether a mention that begins at an id can still come behind the last one."""
        start, stop, kind = self.last
        further = self.window.lasts[-1] > stop or kind < len(self.labels.ids) - 1
        return at > start or (at == start and further)

    def _closes(self, at: int, kind: Optional[int] = None) -> bool:
        """Whether a mention may begin at an id and end here."""
        key = (at, at + self.length)
        if key[1] not in self.window.closes:
            return False
        if key > self.last[:2]:
            return True
        return key == self.last[:2] and self.last[2] < (len(self.labels.ids) - 1 if kind is None else kind)

    def _leads_on(self, below: Tree) -> bool:
        """Whether a label that is still possible makes a new mention."""
        if isinstance(below, dict):
            return any(self._leads_on(one) for one in below.values())
        return any(self._closes(at, below) for at in self.places)

    def take(self, chosen: int, log: float) -> None:
        self.log += log
        source = self.window.list
        if self.node is not None:
            self._label(self.node[chosen])
            return
        if not self.length:
            if chosen == self.end:
                self.done = True
                return
            self.places = [at for at in self.starts if source[at] == chosen and self._finishes(at)]
            self.length = 1
            return
        on = [
            at for at in self.places if at + self.length < self.window.lasts[-1] and source[at + self.length] == chosen
        ]
        if on:
            self.places, self.length = on, self.length + 1
        else:
            self.places = [at for at in self.places if self._closes(at)]
            self._label(self.labels.tree)

    def _label(self, below: Tree) -> None:
        """Go down the tree of labels; at a leaf the mention is complete."""
        if isinstance(below, dict):
            self.node = below
            return
        fitting = [at for at in self.places if self._closes(at, below)]
        at = fitting[0]
        self.last = (at, at + self.length, below)
        start, stop = self.window.opens[at], self.window.closes[at + self.length] + 1
        status = "exact" if len(fitting) == 1 else "order"
        self.found.append(Mention(start, stop, below, status, float(np.exp(self.log))))
        self.places, self.length, self.node, self.log = [], 0, None, 0.0

    def guess(self, most: int) -> list[int]:
        if self.node is not None:
            return _only_way(self.node, most)
        if self.length:
            at = self.places[0] + self.length
            return self.window.list[at : min(at + most, int(self.window.lasts[-1]))]
        return []


class Choices:
    """Picks some of many answers, each at most once and in their order.

    options (Sequence[Sequence[int]]): Ids of each; none begins another.
    end (int): Id that ends an answer.
    """

    def __init__(self, options: Sequence[Sequence[int]], end: int) -> None:
        self.options, self.end = options, end
        self.active = list(range(len(options)))
        self.length = 0
        self.log = 0.0
        self.found: list[tuple[int, float]] = []
        self.done = self.cut = False

    def allowed(self) -> list[int]:
        ways = sorted({self.options[i][self.length] for i in self.active})
        return ways if self.length else [self.end, *ways]

    def take(self, chosen: int, log: float) -> None:
        self.log += log
        if not self.length and chosen == self.end:
            self.done = True
            return
        self.active = [i for i in self.active if self.options[i][self.length] == chosen]
        self.length += 1
        if len(self.options[self.active[0]]) == self.length:
            picked = self.active[0]
            self.found.append((picked, float(np.exp(self.log))))
            self.active, self.length, self.log = list(range(picked + 1, len(self.options))), 0, 0.0

    def guess(self, most: int) -> list[int]:
        if not self.length or len(self.active) != 1:
            return []
        return list(self.options[self.active[0]][self.length : self.length + most])


class Free:
    """Takes whatever comes: what an answer says has to be found in the text afterwards.

    most (int): Ids after which an answer is cut.
    end (int): Id that ends an answer.
    """

    def __init__(self, most: int, end: int) -> None:
        self.most, self.end = most, end
        self.log = 0.0
        self.found: list[int] = []
        self.done = self.cut = False

    def allowed(self) -> None:
        return None

    def take(self, chosen: int, log: float) -> None:
        self.log += log
        self.done = chosen == self.end
        if not self.done:
            self.found.append(chosen)
            self.cut = len(self.found) == self.most

    def guess(self, most: int) -> list[int]:  # noqa: ARG002
        return []

    @property
    def score(self) -> float:
        """Probability of an id of the answer, as the geometric mean over all of them."""
        return float(np.exp(self.log / (len(self.found) + 1)))


def _only_way(below: Tree, most: int) -> list[int]:
    """The ids that a tree of labels forces."""
    way: list[int] = []
    while isinstance(below, dict) and len(below) == 1 and len(way) < most:
        (one, below), *_ = below.items()
        way.append(one)
    return way
