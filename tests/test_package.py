"""What others find from outside: entry points, the version, and what an import costs."""

import configparser
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import spacy

pytestmark = pytest.mark.environment
ROOT = Path(__file__).parents[1]
_GROUPS = configparser.ConfigParser(delimiters=("=",))
_GROUPS.optionxform = str  # type: ignore[assignment, method-assign]
_GROUPS.read(ROOT / "setup.cfg", encoding="utf8")
ENTRY_POINTS = [
    (group, *(part.strip() for part in line.split("=", 1)))
    for group, lines in _GROUPS["options.entry_points"].items()
    for line in lines.strip().splitlines()
]

# Blocks the libraries that take seconds to import, as if they were not installed.
_WITHOUT_TORCH = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "peft", "bioc"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Block())
"""


@pytest.mark.parametrize(("group", "name", "target"), ENTRY_POINTS)
def test_every_entry_point_loads_and_is_registered(group: str, name: str, target: str) -> None:
    module, _, attribute = target.partition(":")
    loaded = getattr(importlib.import_module(module), attribute)
    if group == "spacy_factories":
        assert spacy.blank("en").has_factory(name)
    elif group != "spacy_cli":
        # Those of spacy-llm exist as soon as it is imported.
        registry = importlib.import_module("spacy_llm.registry").registry if "llm" in group else spacy.registry
        assert getattr(registry, group.removeprefix("spacy_").removeprefix("thinc_")).get(name) is loaded
        assert name.startswith("spacy_clinie.")


def test_nothing_registered_is_missing_from_the_entry_points() -> None:
    assert {name for group, name, _ in ENTRY_POINTS if group == "spacy_factories"} == {
        "clinie_decoder_prompt",
        "clinie_encoder",
        "clinie_ner_encoder",
        "clinie_rel",
    }
    assert len(ENTRY_POINTS) == len({entry[:2] for entry in ENTRY_POINTS})


def test_a_blank_pipeline_does_not_import_torch_because_of_us() -> None:
    """spaCy imports the modules of all factories at every `spacy.blank()`. Ours must come in without torch and its
    friends, and a component with an architecture must be cheap to make. (Factories of other packages are not asked.)"""
    targets = [target for group, _, target in ENTRY_POINTS if group != "spacy_cli"]
    code = _WITHOUT_TORCH + (
        "import importlib, spacy\n"
        f"for target in {targets!r}:\n"
        "    importlib.import_module(target.partition(':')[0])\n"
        "from spacy_clinie.components.rel import RelationClassifier\n"
        "from spacy_clinie.models.architectures import one_pass\n"
        "vocab, schema = spacy.vocab.Vocab(), 'n2c2_2018'\n"
        "RelationClassifier(vocab, one_pass(), 'rel', label_schema=schema, max_distance=1, scorer=None)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_version_is_told_once() -> None:
    import spacy_clinie

    assert f"## {spacy_clinie.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf8")


def test_the_commands_are_among_those_of_spacy() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "spacy", "clinie", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert all(command in done.stdout for command in ("convert", "evaluate", "annotate", "download", "schema"))


def test_importing_leaves_the_extension_of_another_library_alone() -> None:
    code = """
import spacy
from spacy.tokens import Doc
Doc.set_extension("rel", default={})
doc = spacy.blank("en")("a b")
import spacy_clinie
doc._.rel[(0, 1)] = {"X": 1.0}
assert doc._.rel == {(0, 1): {"X": 1.0}}
"""
    subprocess.run([sys.executable, "-c", code], check=True)
