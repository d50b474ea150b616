"""The training set of `clinie_decoder_prompt` as text, for other trainers."""

import json
from pathlib import Path
from typing import Any

from spacy import util
from spacy.language import Language
from spacy.schemas import ConfigSchemaTraining

from ..components.decoder_prompt import DecoderPrompt
from ..errors import ClinieError
from ..formats.bundle import replacing
from ..formats.files import keep_apart
from ..models.lm_tokenizer import Reader


def export(config: Path, target: Path, overrides: dict[str, Any]) -> int:
    """Write what the components of a training config learn from, without loading the language model's weights.

    config (Path): The config.
    target (Path): The file: a line of JSON with `prompt` and `completion` for each question about each window, both
        of them lists of one message with `role` and `content`.
    overrides (dict[str, Any]): Values of the config by dotted name.
    RETURNS (int): How many lines.
    RAISES (ClinieError): CIE329 if the config trains no such component, CIE330 if it cannot be read or its training
        data hold nothing, or what `DecoderPrompt.settle` raises.
    """
    keep_apart(config, target)
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
    with replacing(target) as temporary, temporary.open("w", encoding="utf-8") as out:
        for component in components:
            component.settle(examples, given.get(component.name, {}).get("labels"))
            component.reader = Reader.create(_base(nlp, component))
            for record in component.instructions(examples):
                out.write(json.dumps(record, ensure_ascii=False) + "\n")
                lines += 1
    return lines


def _base(nlp: Language, component: DecoderPrompt) -> str:
    return str(nlp.get_pipe_config(component.name)["model"]["base"])
