"""The rooms of the package, who may import whom (docs/architecture.md), and tests that mirror them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import spacy_clinie

PACKAGE = Path(spacy_clinie.__file__).parent
PAGE = Path(__file__).parents[1] / "docs" / "architecture.md"
# Registers the Doc extension and offers the few names that users import; `__main__` starts the command line.
ENTRANCES = {"__init__", "__main__"}
TESTS = Path(__file__).parent
# Test files that hold a promise of many modules, and which one.
OF_MANY_MODULES = {
    "components/test_contract.py": "what every component and its model owe a pipeline",
    "components/test_pickle.py": "every pipeline can be pickled and copied",
    "components/test_smollm2.py": "a real language model works as the tiny ones do, where it is installed",
    "study/test_run_ray.py": "a study runs on Ray; skipped as a whole where that is not installed",
    "test_architecture.py": "the modules keep to their rooms",
    "test_configs.py": "every config trains",
    "test_medspacy.py": "medspaCy reads our concepts, where it is installed",
    "test_package.py": "entry points, the version, and what an import costs",
    "test_readme.py": "what README shows does what it says",
    "test_wheel.py": "a wheel works without the source tree",
}


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(file: Path) -> Iterator[str]:
    """The rooms that a module imports from, inside functions and for type checks too."""
    package = ["spacy_clinie", *file.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            path = package[: len(package) - node.level + 1] + (node.module.split(".") if node.module else [])
            yield from path[1:2] or [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("spacy_clinie."):
            yield str(node.module).split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("spacy_clinie."))


def rooms_in_order() -> list[str]:
    """The rooms as the table of the page lists them."""
    return re.findall(r"^\| `(\w+)(?:/|\.py)` \|", PAGE.read_text(encoding="utf8"), flags=re.MULTILINE)


def test_the_page_lists_every_room_once() -> None:
    there = {room_of(file) for file in PACKAGE.rglob("*.py")} - ENTRANCES
    listed = rooms_in_order()
    assert len(listed) == len(set(listed))
    assert set(listed) == there


def test_rooms_import_only_from_rooms_above_them() -> None:
    height = {room: place for place, room in enumerate(rooms_in_order())}
    wrong = [
        f"{file.relative_to(PACKAGE)} imports {other}"
        for file in sorted(PACKAGE.rglob("*.py"))
        if room_of(file) not in ENTRANCES
        for other in imported_rooms(file)
        if other != "__version__" and height[other] > height[room_of(file)]
    ]
    assert wrong == []


def test_no_two_modules_have_one_name() -> None:
    names = [file.stem for file in PACKAGE.rglob("*.py") if file.stem != "__init__"]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_every_test_file_has_the_name_of_a_module_or_a_promise_of_many() -> None:
    files = [file.relative_to(TESTS) for file in TESTS.rglob("test_*.py")]
    of_no_module = {
        file.as_posix() for file in files if not (PACKAGE / file.with_name(file.name.removeprefix("test_"))).is_file()
    }
    assert of_no_module == set(OF_MANY_MODULES)
