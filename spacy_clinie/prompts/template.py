"""Prompts from versioned templates. Every value that a template is given stays text: nothing in a note, a description
or an example acts as a control token of the model."""

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


class _Placeholder(Enum):
    """An Enum, because its members stay the same object when they are copied or pickled."""

    WINDOW = "window"


# Stands for the window, which is put in later.
WINDOW = _Placeholder.WINDOW
# The characters around the number of a value in a rendered template. The chat template is applied before values are put
# in, so that it cannot change them.
_START, _END = "\ue000", "\ue001"
_VALUES = "_values"


class Part(NamedTuple):
    """A part of a prompt.

    text (str): Its text.
    control (bool): Whether it is a control token of the model.
    """

    text: str
    control: bool


class Prompt(NamedTuple):
    """A prompt whose values are kept apart, so that they cannot be mistaken for words of the template.

    rendered (str): The rendered template, with a placeholder for each value.
    values (tuple[Any, ...]): The values.
    """

    rendered: str
    values: tuple[Any, ...]

    def text(self, window: str) -> str:
        """The prompt as plain text, for models that take no token ids.

        window (str): The text of the window.
        RETURNS (str): The text.
        RAISES (ClinieError): CIE322 if the template does not use the window exactly once.
        """
        before, after = ("".join(part.text for part in side) for side in self.parts(()))
        return f"{before}{window}{after}"

    def parts(self, controls: Iterable[str]) -> tuple[list[Part], list[Part]]:
        """Split the prompt at the window, and at the control tokens of the template.

        controls (Iterable[str]): The model's control tokens.
        RETURNS (tuple[list[Part], list[Part]]): The parts before and after the window.
        RAISES (ClinieError): CIE322 if the template does not use the window exactly once.
        """
        sides: list[list[Part]] = [[]]
        controls = frozenset(controls)
        for token in split_pattern(controls).split(self.rendered):
            control, text = token in controls, token
            if token.startswith(_START):
                value = self.values[int(token[1:-1])]
                if value is WINDOW:
                    sides.append([])
                    continue
                text = value
            side = sides[-1]
            if not control and side and not side[-1].control:
                side[-1] = Part(side[-1].text + text, False)
            elif text:
                side.append(Part(text, control))
        if len(sides) != 2:
            raise ClinieError("CIE322", found=len(sides) - 1)
        return sides[0], sides[1]


def split_pattern(controls: Iterable[str]) -> re.Pattern[str]:
    """A pattern that matches control tokens and placeholders.

    controls (Iterable[str]): The model's control tokens.
    RETURNS (re.Pattern[str]): It has one group around the whole match, so `split` keeps the matches.
    """
    cuts = [f"{_START}[0-9]+{_END}", *map(re.escape, sorted(controls, key=len, reverse=True))]
    return re.compile(f"({'|'.join(cuts)})")


def window_only() -> Prompt:
    """A prompt without any text around the window."""
    return Prompt(f"{_START}0{_END}", (WINDOW,))


def source_of(name: str) -> Optional[str]:
    """Read a custom template, so that it can be saved with a pipeline.

    name (str): See `render`.
    RETURNS (Optional[str]): Its text; None for a bundled template.
    RAISES (ClinieError): CIE320 if there is no such template.
    """
    if (FOLDER / f"{name}.jinja").exists():
        return None
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(sorted(one.stem for one in FOLDER.glob("*.jinja")))
        raise ClinieError("CIE320", name=name, known=known) from error


def render(name: str, source: Optional[str] = None, /, **values: Any) -> Prompt:
    """Render a template.

    name (str): A bundled template such as `concepts_instruct.v1`, or the path of a custom one.
    source (Optional[str]): The text of a custom template; None reads the file.
    values (Any): The template's variables. It also gets `window`.
    RETURNS (Prompt): The prompt.
    RAISES (ClinieError): CIE320 if there is no such template, CIE321 if it has an error.
    """
    kept: list[Any] = []
    template = _load(name, source_of(name) if source is None else source)
    try:
        rendered = template.render({**values, "window": WINDOW, _VALUES: kept})
    except Exception as error:  # an expression of the template can raise anything
        raise ClinieError("CIE321", name=name, problem=type(error).__name__) from error
    return Prompt(rendered.strip(), tuple(kept))


@lru_cache
def _load(name: str, source: Optional[str]) -> Template:
    environment = SandboxedEnvironment(
        loader=FileSystemLoader(FOLDER),
        undefined=StrictUndefined,
        finalize=_keep_value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    try:
        return environment.get_template(f"{name}.jinja") if source is None else environment.from_string(source)
    except TemplateError as error:
        raise ClinieError("CIE321", name=name, problem=f"{type(error).__name__}: {error}") from error


@pass_context
def _keep_value(context: Context, value: Any) -> str:
    """Put a placeholder in place of a value, and keep the value."""
    kept = context[_VALUES]
    kept.append(value if value is WINDOW else str(value))
    return f"{_START}{len(kept) - 1}{_END}"
