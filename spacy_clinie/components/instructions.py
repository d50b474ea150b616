"""Exporting the training set of `clinie_decoder_prompt` as text, for other trainers."""

import json
from pathlib import Path
from typing import Any

from spacy import util
from spacy.language import Language
from spacy.schemas import ConfigSchemaTraining

from ..components.decoder_prompt import DecoderPrompt
from ..errors import ClinieError
from ..formats.atomic import atomic_write
from ..formats.files import check_output_path
from ..models.lm_tokenizer import LMTokenizer


def export(config: Path, target: Path, overrides: dict[str, Any]) -> int:
    """Write the training set of a config as JSON lines, without loading the weights of the language model.

    config (Path): The config.
    target (Path): The file. It gets a line of JSON for each question about each window, with `prompt` and `completion`,
        both a list of one message with `role` and `content`.
    overrides (dict[str, Any]): Values for the config, by dotted name.
    RETURNS (int): The number of lines.
    RAISES (ClinieError): CIE329 if the config has no such component; CIE330 if the config or its training data
        cannot be read; or what `DecoderPrompt.initialize_labels` raises.
    """
    check_output_path(config, target)
    try:
        settings = util.load_config(config, overrides=overrides)
        nlp = util.load_model_from_config(settings, auto_fill=True)
        whole = nlp.config.interpolate()
        resolved = util.registry.resolve(whole["training"], schema=ConfigSchemaTraining)
        components = [pipe for _, pipe in nlp.pipeline if isinstance(pipe, DecoderPrompt)]
        blocks = whole["initialize"]["components"]
        given = util.registry.resolve({one.name: blocks[one.name] for one in components if one.name in blocks})
        [train] = util.resolve_dot_names(whole, [resolved["train_corpus"]])
        examples = list(train(nlp))
    except ClinieError:
        raise
    except (ValueError, OSError) as error:
        raise ClinieError("CIE330", config=config.name, problem=type(error).__name__) from error
    if not components:
        raise ClinieError("CIE329", config=config.name)
    lines = 0
    with atomic_write(target) as temporary, temporary.open("w", encoding="utf-8") as out:
        for component in components:
            component.initialize_labels(examples, given.get(component.name, {}).get("labels"))
            component.lm_tokenizer = LMTokenizer.load(_base(nlp, component))
            for record in component.instructions(examples):
                out.write(json.dumps(record, ensure_ascii=False) + "\n")
                lines += 1
    return lines


def _base(nlp: Language, component: DecoderPrompt) -> str:
    return str(nlp.get_pipe_config(component.name)["model"]["base"])
