"""A wheel built from a clean clone works where the source tree is out of reach."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = "Pt was given ondansetron for nausea after the colonoscopy."


def tracked() -> list[str]:
    """Files that a clone has, by their paths in it."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("a clean clone needs git and a repository")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with nothing but the package, installed from a wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in tracked():
        (folder / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / "clone" / name)
    pip = [sys.executable, "-m", "pip", "--quiet"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(folder / "clone")]
    subprocess.run(build, check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", str(folder / "site"), wheel], check=True)
    shutil.rmtree(folder / "clone")
    return folder / "site"


def run(site: Path, folder: Path, *arguments: str) -> str:
    """Run Python elsewhere, where it finds the wheel's files and the packages that are installed here.

    site (Path): Folder of the wheel's files.
    folder (Path): Where it runs.
    arguments (str): Of Python.
    RETURNS (str): What it printed.
    """
    packages = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *packages]), "HF_HUB_OFFLINE": "1"}
    # Without `site`, no .pth file leads to a source tree.
    command = [sys.executable, "-S", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_holds_every_file_of_the_package(site: Path) -> None:
    missing = [name for name in tracked() if name.startswith("spacy_clinie/") and not (site / name).is_file()]
    assert missing == []


def test_every_entry_point_loads(site: Path, tmp_path: Path) -> None:
    code = """
from importlib.metadata import distribution
found = distribution("spacy-clinie")
for point in found.entry_points:
    point.load()
import spacy_clinie
print(len(found.entry_points), found.locate_file(""), spacy_clinie.__file__)
"""
    count, place, file = run(site, tmp_path, "-c", code).split()
    assert int(count) > 20
    assert Path(place) == site
    assert Path(file).parent.parent == site


def test_it_annotates_a_note(site: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "1.txt").write_text(TEXT, encoding="utf8")
    run(site, tmp_path, "-m", "spacy_clinie", "annotate", "open-minilm", "notes", "found.html")
    page = (tmp_path / "found.html").read_text(encoding="utf8")
    assert all(word in page for word in ("ondansetron", "<style>", "<script>"))


def test_its_commands_are_there(site: Path, tmp_path: Path) -> None:
    assert "annotate" in run(site, tmp_path, "-m", "spacy_clinie", "--help")
