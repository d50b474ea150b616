"""Models of a real shape with random weights."""

from pathlib import Path

from spacy_clinie.study.presets import find_preset
from spacy_clinie.study.random_models import write_random_model


def test_random_weights_are_the_same_for_a_seed(tmp_path: Path) -> None:
    preset = find_preset("tiny-encoder")
    made = [tmp_path / name for name in ("a", "b", "c")]
    for seed, folder in zip((0, 0, 1), made, strict=True):
        write_random_model(folder, preset.kind, preset.shape, ["took aspirin"], seed)
    first, second, third = ((folder / "model.safetensors").read_bytes() for folder in made)
    assert first == second != third
