"""Prompts from versioned templates. Whatever a template is given is text and stays text: a note, a description or an
example that looks like a control token of the model changes nothing but itself."""

import re
from collections.abc import Iterable
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Optional

from jinja2 import FileSystemLoader, StrictUndefined, Template, TemplateError, pass_context
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment

from ..errors import ClinieError

FOLDER = Path(__file__).parent / "templates"


class _Place(Enum):
    """What a template puts somewhere: of an Enum, as these stay the same where they are pickled or copied."""

    WINDOW = "window"


# Where a template puts the window.
WINDOW = _Place.WINDOW
# Stand around the number of a value while a chat template is wrapped around the prompt.
_BEGIN, _END = "\ue000", "\ue001"
_VALUES = "_values"


class Part(NamedTuple):
    """A part of a prompt.

    text (str): What it says.
    control (bool): Whether it is one of the model's control tokens.
    """

    text: str
    control: bool


class Prompt(NamedTuple):
    """A prompt before its values are put in, so that they cannot be mistaken for words of the template.

    form (str): What the template made, with a place holder for each value.
    values (tuple[Any, ...]): The values.
    """

    form: str
    values: tuple[Any, ...]

    def text(self, window: str) -> str:
        """The prompt as plain text, for engines that take nothing else.

        window (str): What comes where its window belongs.
        RETURNS (str): The text.
        RAISES (ClinieError): CIE322 if there is not exactly one window.
        """
        before, behind = ("".join(part.text for part in side) for side in self.parts(()))
        return f"{before}{window}{behind}"

    def parts(self, controls: Iterable[str]) -> tuple[list[Part], list[Part]]:
        """Cut the prompt where its window belongs, and at its own control tokens.

        controls (Iterable[str]): The model's control tokens.
        RETURNS (tuple[list[Part], list[Part]]): What stands before the window, and behind it.
        RAISES (ClinieError): CIE322 if there is not exactly one window.
        """
        sides: list[list[Part]] = [[]]
        controls = frozenset(controls)
        for piece in cut_at(controls).split(self.form):
            control = False
            text = piece
            if piece.startswith(_BEGIN):
                value = self.values[int(piece[1:-1])]
                if value is WINDOW:
                    sides.append([])
                    continue
                text = value
            else:
                control = piece in controls
            side = sides[-1]
            if not control and side and not side[-1].control:
                side[-1] = Part(side[-1].text + text, False)
            elif text:
                side.append(Part(text, control))
        if len(sides) != 2:
            raise ClinieError("CIE322", found=len(sides) - 1)
        return sides[0], sides[1]


def cut_at(controls: Iterable[str]) -> re.Pattern[str]:
    """Finds control tokens and place holders.

    controls (Iterable[str]): The model's control tokens.
    RETURNS (re.Pattern[str]): With one group around all of it.
    """
    cuts = [f"{_BEGIN}[0-9]+{_END}", *map(re.escape, sorted(controls, key=len, reverse=True))]
    return re.compile(f"({'|'.join(cuts)})")


def only_the_window() -> Prompt:
    """A prompt that says nothing of its own."""
    return Prompt(f"{_BEGIN}0{_END}", (WINDOW,))


def source_of(name: str) -> Optional[str]:
    """What a template of one's own says, so that a pipeline can take it along.

    name (str): See `render`.
    RETURNS (Optional[str]): None for a bundled one.
    RAISES (ClinieError): CIE320 if there is no such template.
    """
    if (FOLDER / f"{name}.jinja").exists():
        return None
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _missing(name) from error


def _missing(name: str) -> ClinieError:
    return ClinieError("CIE320", name=name, known=", ".join(sorted(one.stem for one in FOLDER.glob("*.jinja"))))


def render(name: str, source: Optional[str] = None, /, **values: Any) -> Prompt:
    """Fill a template in.

    name (str): A bundled template such as `concepts_instruct.v1`, or the path of a file of one's own.
    source (Optional[str]): What the template says; None to read the file.
    values (Any): What the template may use. `window` is where the window comes.
    RETURNS (Prompt): The prompt.
    RAISES (ClinieError): CIE320 if there is no such template, CIE321 if it is at fault.
    """
    kept: list[Any] = []
    template = _load(name, source_of(name) if source is None else source)
    try:
        form = template.render({**values, "window": WINDOW, _VALUES: kept})
    except Exception as error:  # whatever a template of one's own computes
        raise ClinieError("CIE321", name=name, problem=type(error).__name__) from error
    return Prompt(form.strip(), tuple(kept))


@lru_cache
def _load(name: str, source: Optional[str]) -> Template:
    environment = SandboxedEnvironment(
        loader=FileSystemLoader(FOLDER),
        undefined=StrictUndefined,
        finalize=_hold,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    try:
        return environment.get_template(f"{name}.jinja") if source is None else environment.from_string(source)
    except TemplateError as error:
        raise ClinieError("CIE321", name=name, problem=f"{type(error).__name__}: {error}") from error


@pass_context
def _hold(context: Context, value: Any) -> str:
    """Keep a value aside and put a place holder where it belongs."""
    kept = context[_VALUES]
    kept.append(value if value is WINDOW else str(value))
    return f"{_BEGIN}{len(kept) - 1}{_END}"
