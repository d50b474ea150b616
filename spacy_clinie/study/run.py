"""All unfinished folds of a study, each in a process of its own, and several at a time."""

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Optional

import typer
from thinc.compat import has_cupy_gpu, has_torch_cuda_gpu

from ..corpora.splits import SHARED_WORDS
from ..errors import ClinieError
from ..terminal import guarded
from .data import MIN_DOCUMENTS, Missing, Source, find_sources
from .plan import ZERO_SHOT_ARMS, CorpusInfo, Fold, Study, plan
from .plan_file import write_plan
from .presets import find_preset
from .profiles import PROFILES, Profile
from .workspace import Workspace

# Seconds between two checks of processes, and until a shared folder of a cluster must show a new file.
_PAUSE, _DELAY = 0.2, 30.0


class Process:
    """A fold that runs in a process of this machine.

    If possible, the process is forked from a server that has imported everything. But thinc looks for GPUs when it is
    imported, and a process that is forked after that cannot use them.

    request (Path): See `fold.main`.
    """

    # Why a fold failed whose process could not write it down.
    problem = "its process ended early, for example because memory ran out; its log.txt may tell more"
    _forks = "forkserver" in multiprocessing.get_all_start_methods() and not (has_cupy_gpu or has_torch_cuda_gpu)
    _context: Any = multiprocessing.get_context("forkserver" if _forks else "spawn")

    def __init__(self, request: Path) -> None:
        self._process = self._context.Process(target=_run, args=(request,))
        self._process.start()

    @classmethod
    def share_cores(cls, jobs: int) -> None:
        """Divide the cores between this number of processes. To call before the first one starts."""
        # Not all cores of the machine: a scheduler may have assigned some of them to this process.
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // jobs)))
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        if cls._forks:
            cls._context.set_forkserver_preload(["spacy_clinie.study.preload"])

    def done(self) -> bool:
        """Whether the process has ended."""
        return not self._process.is_alive()

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()


def _run(request: Path) -> None:
    """Run a fold. All it prints goes to its `log.txt`, which must not quote notes."""
    from .fold import main

    threading.Thread(target=_end_with_parent, daemon=True).start()
    with (request.parent / "log.txt").open("w", encoding="utf-8") as log:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(log.fileno(), stream.fileno())
        with suppress(typer.Exit):  # the manifest says why it failed
            guarded(main)(request)


def _end_with_parent() -> None:
    """End this process when the study is killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class Task:
    """A fold that runs on a Ray cluster, whose machines share the study's folder.

    request (Path): See `fold.main`.
    """

    def __init__(self, request: Path) -> None:
        import ray

        self._ray = ray
        gpus = min(1.0, ray.cluster_resources().get("GPU", 0.0))
        self._task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(_run_on_cluster).remote(str(request))
        self._manifest, self._deadline = request.parent / "manifest.json", 0.0
        self.problem = Process.problem

    def done(self) -> bool:
        """Whether the task has ended, and its manifest is visible on this machine."""
        if not self._deadline:
            if not self._ray.wait([self._task], timeout=0)[0]:
                return False
            self._deadline = time.monotonic() + _DELAY
            try:
                self._ray.get(self._task)
            except self._ray.exceptions.RayError as error:
                self._deadline = time.monotonic()
                self.problem = (
                    f"Ray raised a {type(error).__name__}; see that every machine of the cluster has this package and "
                    "the same folders"
                )
        return self._manifest.is_file() or time.monotonic() > self._deadline

    def stop(self) -> None:
        """End the task."""
        self._ray.cancel(self._task, force=True)


def _run_on_cluster(request: str) -> None:
    # In a process of its own, since Ray's workers live on.
    process = Process(Path(request))
    while not process.done():
        time.sleep(_PAUSE)


def run_study(
    study: Study,
    folder: Path,
    *,
    profile: str,
    corpora: Path,
    use: Sequence[str] = (),
    bases: Sequence[str] = (),
    arms: Sequence[str] = (),
    seeds: Optional[int] = None,
    jobs: int = 1,
    ray: Optional[str] = None,
    skip_missing: bool = False,
    command: str = "",
    echo: Callable[[str], None] = print,
) -> dict[str, int]:
    """Run a study, or continue one. Finished folds are kept; those that failed or were interrupted are run again.

    study (Study): The study.
    folder (Path): Its folder.
    profile (str): How much of it is run, a name of `profiles.PROFILES`.
    corpora (Path): Folder with the folders of the corpora.
    use (Sequence[str]): Corpora, see `data.find_sources`; by default those of the profile.
    bases (Sequence[str]): Base models, see `presets.find_preset`; by default those of the profile.
    arms (Sequence[str]): Arms; by default those of the profile.
    seeds (Optional[int]): How often everything is run; by default as often as in the profile.
    jobs (int): Number of folds to run at a time.
    ray (Optional[str]): Address of a Ray cluster to run them on; None for this machine.
    skip_missing (bool): Continue without corpora that are missing.
    command (str): The command line, for the report.
    echo (Callable[[str], None]): Gets a message for each fold.
    RETURNS (dict[str, int]): The number of `folds`, of those `done` before, `finished` now and `failed`.
    RAISES (ClinieError): CIE484 and CIE490 if there is no cluster, CIE488 if a named arm or base has no fold, CIE491
        for missing corpora, CIE492 for unknown names, CIE499 for a corpus with nothing to train on; errors of
        `find_preset`, `find_sources`, `write_plan` and `Workspace`.
    """
    settings = _settings(profile, arms, seeds)
    presets = [find_preset(name) for name in bases or settings.bases]
    sources, missing = find_sources(use or settings.corpora, corpora)
    if missing and not (skip_missing and sources):
        raise _missing_error(missing)
    Process.share_cores(jobs)
    if ray is not None:
        _connect(ray)
    workspace = Workspace(folder, settings)
    with workspace.locked():
        sources, damaged = _prepare(workspace, sources, skip_missing=skip_missing)
        missing += damaged
        if not sources:
            raise _missing_error(missing)
        echo(f"Corpora: {', '.join(source.name for source in sources)}")
        for one in missing:
            echo(f"Missing: {one.corpus}: {one.how}")
        data = {source.name: workspace.describe(source.name) for source in sources}
        infos = {}
        for name, own in data.items():
            for line in _notices(own):
                echo(f"{name}: {line}")
            documents = own["parts"]["train"]["documents"] - own["shared"]
            infos[name] = CorpusInfo(workspace.has_relations(name), documents)
        if nothing := [name for name, info in infos.items() if info.documents <= 0]:
            raise ClinieError("CIE499", corpora=", ".join(nothing), words=SHARED_WORDS)
        planned = plan(study, settings, infos, presets)
        idle = {*arms, *(preset.title for preset in presets if bases)}
        idle -= {name for fold in planned for name in (fold.arm, fold.base)}
        if idle or not planned:
            names, asking = ", ".join(sorted(idle)) or "what was named", ", ".join(ZERO_SHOT_ARMS)
            raise ClinieError("CIE488", study=study, idle=names, asking=asking)
        for name, info in infos.items() if study == "loo" else ():
            if too_many := [str(k) for k in settings.shots if k > info.documents]:
                echo(f"{name} has {info.documents} training documents: no folds of {', '.join(too_many)} shots")
        folds = {workspace.key(fold): fold for fold in planned}
        for line in write_plan(workspace, study, folds, data, missing, command):
            echo(line)
        done = {key for key in folds if workspace.manifest(key)}
        parents = {key: workspace.key(parent) for key, fold in folds.items() if (parent := fold.parent(settings))}
        # Parents of unfinished folds are run again if their pipelines were removed, or not copied.
        done -= {parent for key, parent in parents.items() if key not in done and not workspace.has_pipeline(parent)}
        echo(f"{len(folds)} folds, {len(done)} of them finished")
        return _run_folds(workspace, folds, done, parents, jobs, Process if ray is None else Task, echo)


def _missing_error(missing: Sequence[Missing]) -> ClinieError:
    lines = "\n".join(f"- {one.corpus}: {one.how}" for one in missing)
    return ClinieError("CIE491", count=len(missing), lines=lines)


def _prepare(
    workspace: Workspace, sources: Sequence[Source], *, skip_missing: bool
) -> tuple[list[Source], list[Missing]]:
    """Prepare corpora. Returns those that can be read, and those that cannot, for example because files are missing."""
    prepared, damaged = [], []
    for source in sources:
        try:
            workspace.prepare(source)
            prepared.append(source)
        except ClinieError as error:
            if not skip_missing:
                raise
            damaged.append(Missing(source.name, str(error)))
    return prepared, damaged


def _notices(data: Mapping[str, Any]) -> Iterator[str]:
    """What users should know about a corpus before training takes hours; see `Workspace.describe`."""
    train, test = (data["parts"][split]["documents"] for split in ("train", "test"))
    if data["shared"]:
        yield f"{data['shared']:,} of {train:,} training documents share text with a test document: not trained on"
    if data["headers"]:
        yield f"{data['headers']:,} of {train:,} training documents share only headers with test documents: trained on"
    if lost := sum(data["lost"].values()):
        yield f"{lost:,} things could not be converted, such as annotations of unknown types; see its report.json"
    if test < MIN_DOCUMENTS:
        all_of = data["documents"]["test"]
        more = " (--profile gpu takes all)" if test < all_of else ""
        yield f"tested on {test} of {all_of:,} documents: too few to compare arms{more}"


def _run_folds(
    workspace: Workspace,
    folds: dict[str, Fold],
    done: set[str],
    parents: dict[str, str],
    jobs: int,
    start: Callable[[Path], Any],
    echo: Callable[[str], None],
) -> dict[str, int]:
    """Run the folds that are not done, each after its parent."""
    before, waiting = len(done), [key for key in folds if key not in done]
    running: dict[str, tuple[Any, float]] = {}
    failed: set[str] = set()

    def report(key: str, outcome: str) -> None:
        echo(f"[{len(done) + len(failed)}/{len(folds)}] {folds[key].title}: {outcome}")

    try:
        while waiting or running:
            for key in [key for key, (process, _) in running.items() if process.done()]:
                process, begin = running.pop(key)
                manifest = workspace.manifest(key)
                (done if manifest else failed).add(key)
                outcome = _outcome(manifest) if manifest else f"FAILED, {_problem(workspace, key, folds[key], process)}"
                report(key, f"{outcome} ({time.monotonic() - begin:,.0f} s)")
            for key in list(waiting):
                parent = parents.get(key)
                if parent in failed:
                    waiting.remove(key)
                    failed.add(key)
                    workspace.fail(key, folds[key], "the fold that it continues from failed")
                    report(key, f"skipped, because {parent} failed")
                elif len(running) < jobs and (parent is None or parent in done):
                    waiting.remove(key)
                    running[key] = start(_request(workspace, key, folds[key], parent)), time.monotonic()
            time.sleep(_PAUSE)
    finally:
        for process, _ in running.values():
            process.stop()
    return {"folds": len(folds), "done": before, "finished": len(done) - before, "failed": len(failed)}


def _outcome(manifest: dict[str, Any]) -> str:
    scores = [
        f"{name.replace('_', ' on ')} {results['strict']['micro']['f1']:.3f}"
        for name, results in manifest.get("results", {}).items()
    ]
    if scores:
        return ", ".join(scores)
    offered = ", ".join(f"{count:,} of {name}" for name, count in manifest.get("offered", {}).items())
    return f"trained on documents that share no text with it: {offered}" if offered else "trained"


def _problem(workspace: Workspace, key: str, fold: Fold, process: Any) -> str:
    """Why a fold failed. If it could not say so itself, the process does, and the manifest gets it."""
    problem = workspace.problem(key)
    if problem is None:
        problem = str(process.problem)
        workspace.fail(key, fold, problem)
    return problem


def _request(workspace: Workspace, key: str, fold: Fold, parent: Optional[str]) -> Path:
    path = workspace.fold(key) / "request.json"
    (workspace.fold(key) / "manifest.json").unlink(missing_ok=True)
    workspace.write(path, {"fold": asdict(fold), "profile": workspace.profile.name, "parent": parent})
    return path


def _settings(name: str, arms: Sequence[str], seeds: Optional[int]) -> Profile:
    if name not in PROFILES:
        raise ClinieError("CIE492", what="profile", name=name, known=", ".join(PROFILES))
    profile = PROFILES[name]
    for arm in arms:
        if arm not in profile.arms:
            raise ClinieError("CIE492", what="arm", name=arm, known=", ".join(profile.arms))
    return replace(profile, arms=tuple(arms) or profile.arms, seeds=seeds or profile.seeds)


def _connect(address: str) -> None:
    try:
        import ray
    except ImportError:
        raise ClinieError("CIE490") from None
    try:
        ray.init(address=address, ignore_reinit_error=True)
    except (ConnectionError, ValueError):  # ValueError for what is not an address
        raise ClinieError("CIE484", address=address) from None
