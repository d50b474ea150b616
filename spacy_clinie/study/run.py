"""All folds of a study, each in a process of its own, side by side, and only those that are not done."""

import json
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

import typer
from thinc.compat import has_cupy_gpu, has_torch_cuda_gpu

from ..corpora.splits import SHARED_WORDS
from ..errors import ClinieError
from ..terminal import guarded
from .data import FEWEST, Missing, Source, find_sources
from .plan import ASKING, Fold, Known, Study, plan
from .plan_file import write_plan
from .presets import find_preset
from .profiles import PROFILES, Profile
from .workspace import Workspace

# Seconds between two looks at the processes, and within which a folder that is shared over a network shows a new file.
_PAUSE, _LATE = 0.2, 30.0


class Process:
    """A fold that is being done by a process of this machine.

    Where the system can, it is forked off a server that has imported everything and done nothing yet. But thinc asks
    for GPUs when it is imported, and what is forked off afterwards can use none.

    request (Path): See `fold.main`.
    """

    # Why a fold is not done whose process could not say so itself.
    problem = "its process ended early, for example because memory ran out; its log.txt may tell more"
    _forks = "forkserver" in multiprocessing.get_all_start_methods() and not (has_cupy_gpu or has_torch_cuda_gpu)
    _context: Any = multiprocessing.get_context("forkserver" if _forks else "spawn")

    def __init__(self, request: Path) -> None:
        self._process = self._context.Process(target=_work, args=(request,))
        self._process.start()

    @classmethod
    def share(cls, jobs: int) -> None:
        """Divide the processors between processes that stand side by side, before the first one starts.

        jobs (int): How many do.
        """
        # Those that this process may use: a cluster gives a job some of a machine's.
        there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, there // jobs)))
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        if cls._forks:
            cls._context.set_forkserver_preload(["spacy_clinie.study.imported"])

    def done(self) -> bool:
        """Whether it has ended."""
        return not self._process.is_alive()

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.join()


def _work(request: Path) -> None:
    """Do a fold with everything that it prints in its `log.txt`, which must not quote notes."""
    from .fold import main

    threading.Thread(target=_end_with_parent, daemon=True).start()
    with (request.parent / "log.txt").open("w", encoding="utf-8") as log:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(log.fileno(), stream.fileno())
        with suppress(typer.Exit):  # a failure stands in the manifest
            guarded(main)(request)


def _end_with_parent() -> None:
    """A study that is killed takes its folds with it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class Task:
    """A fold that is being done somewhere in a cluster of Ray, which sees the same folders.

    request (Path): See `fold.main`.
    """

    def __init__(self, request: Path) -> None:
        import ray

        self._ray = ray
        gpus = min(1.0, ray.cluster_resources().get("GPU", 0.0))
        work = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(_work_there)
        self._task = work.remote(str(request))
        self._manifest, self._waits_until = request.parent / "manifest.json", 0.0
        self.problem = Process.problem

    def done(self) -> bool:
        """Whether it has ended, and its manifest can be seen here."""
        if not self._waits_until:
            if not self._ray.wait([self._task], timeout=0)[0]:
                return False
            self._waits_until = time.monotonic() + _LATE
            try:
                self._ray.get(self._task)
            except self._ray.exceptions.RayError as error:
                self._waits_until = time.monotonic()
                self.problem = (
                    f"Ray raised a {type(error).__name__}; see that every machine of the cluster has this package and "
                    "the same folders"
                )
        return self._manifest.is_file() or time.monotonic() > self._waits_until

    def stop(self) -> None:
        """End it."""
        self._ray.cancel(self._task, force=True)


def _work_there(request: str) -> None:
    # In a process of its own: it may be killed, and Ray's workers live on.
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
    say: Callable[[str], None] = print,
) -> dict[str, int]:
    """Do a study, or go on with one. What is done stays; what failed or was cut off is done again.

    study (Study): Which.
    folder (Path): Where everything is kept.
    profile (str): How much is done, a name of `profiles.PROFILES`.
    corpora (Path): Folder that holds the corpora's folders.
    use (Sequence[str]): Corpora, see `data.find_sources`; none for those of the profile.
    bases (Sequence[str]): Base models, see `presets.find_preset`; none for those of the profile.
    arms (Sequence[str]): Arms; none for those of the profile.
    seeds (Optional[int]): How often everything is done; None for as often as the profile does.
    jobs (int): Folds that are done side by side.
    ray (Optional[str]): Address of a cluster of Ray that does them; None for this machine.
    skip_missing (bool): Go on without corpora that are not there.
    command (str): What was typed, for the report.
    say (Callable[[str], None]): Gets a line for each fold.
    RETURNS (dict[str, int]): `folds`, `done` before, `finished` now, `failed`.
    RAISES (ClinieError): CIE492 for unknown names, CIE491 for missing corpora, CIE488 if there is nothing to do for
        something that was named, CIE489 for bases that cannot be told apart, CIE498 if another study works on the
        folder, and what `Workspace.prepare` raises.
    """
    settled = _settled(profile, arms, seeds)
    presets = [find_preset(name) for name in bases or settled.bases]
    sources, missing = find_sources(use or settled.corpora, corpora)
    if missing and not (skip_missing and sources):
        raise _not_there(missing)
    Process.share(jobs)
    if ray is not None:
        _connect(ray)
    space = Workspace(folder, settled)
    with space.alone():
        sources, damaged = _prepared(space, sources, skip_missing=skip_missing)
        missing += damaged
        if not sources:
            raise _not_there(missing)
        say(f"Corpora: {', '.join(source.name for source in sources)}")
        for one in missing:
            say(f"Missing: {one.corpus}: {one.how}")
        data = {source.name: space.data(source.name) for source in sources}
        for name, own in data.items():
            for line in _told(own):
                say(f"{name}: {line}")
        if nothing := [name for name, own in data.items() if _documents(own) <= 0]:
            raise ClinieError("CIE499", corpora=", ".join(nothing), words=SHARED_WORDS)
        known = {name: Known(space.has_relations(name), _documents(own)) for name, own in data.items()}
        planned = plan(study, settled, known, presets)
        _check(study, planned, arms, [preset.title for preset in presets] if bases else [])
        for name, few in known.items() if study == "loo" else ():
            if too_many := [str(k) for k in settled.shots if k > few.documents]:
                say(f"{name} has {few.documents} training documents: no folds of {', '.join(too_many)} shots")
        folds = {space.key(fold): fold for fold in planned}
        for line in write_plan(space, study, folds, data, missing, command):
            say(line)
        done = {key for key in folds if space.manifest(key)}
        needs = {key: space.key(stem) for key, fold in folds.items() if key not in done and (stem := space.stem(fold))}
        # What is needed once more has to be there; of a study that was copied without it, or tidied up, it is not.
        done -= {key for key in needs.values() if not space.can_go_on_from(key)}
        say(f"{len(folds)} folds, {len(done)} of them finished")
        return _work_off(space, folds, done, needs, jobs, Process if ray is None else Task, say)


def _not_there(missing: Sequence[Missing]) -> ClinieError:
    lines = "\n".join(f"- {one.corpus}: {one.how}" for one in missing)
    return ClinieError("CIE491", count=len(missing), lines=lines)


def _prepared(space: Workspace, sources: Sequence[Source], *, skip_missing: bool) -> tuple[list[Source], list[Missing]]:
    """Corpora that can be read, and those that cannot, as where a part was never fetched."""
    there, damaged = [], []
    for source in sources:
        try:
            space.prepare(source)
            there.append(source)
        except ClinieError as error:
            if not skip_missing:
                raise
            damaged.append(Missing(source.name, str(error)))
    return there, damaged


def _told(data: Mapping[str, Any]) -> Iterator[str]:
    """What somebody should know of a corpus before it takes hours; see `Workspace.data`."""
    train, test = (data["parts"][split]["documents"] for split in ("train", "test"))
    if data["shared"]:
        yield f"{data['shared']:,} of {train:,} training documents share text with a test document: not trained on"
    if data["headers"]:
        yield f"{data['headers']:,} of {train:,} training documents share only headers with test documents: trained on"
    if lost := sum(data["lost"].values()):
        yield f"{lost:,} things could not be converted, such as annotations of unknown types; see its report.json"
    if test < FEWEST:
        all_of = data["documents"]["test"]
        more = " (--profile gpu takes all)" if test < all_of else ""
        yield f"tested on {test} of {all_of:,} documents: too few to compare arms{more}"


def _documents(data: Mapping[str, Any]) -> int:
    """From how many documents of a corpus can be learnt; see `Workspace.data`."""
    return int(data["parts"]["train"]["documents"] - data["shared"])


def _check(study: Study, folds: Sequence[Fold], arms: Sequence[str], bases: Sequence[str]) -> None:
    """Whether there is something to do for everything that was named."""
    idle = [*sorted(set(arms) - {fold.arm for fold in folds}), *sorted(set(bases) - {fold.base for fold in folds})]
    if idle or not folds:
        raise ClinieError("CIE488", study=study, idle=", ".join(idle) or "what was named", asking=", ".join(ASKING))


def _work_off(
    space: Workspace,
    folds: dict[str, Fold],
    done: set[str],
    needs: dict[str, str],
    jobs: int,
    start: Callable[[Path], Any],
    say: Callable[[str], None],
) -> dict[str, int]:
    """Do the folds that are not done, each once the one that it `needs` is."""
    before, waiting = len(done), [key for key in folds if key not in done]
    running: dict[str, tuple[Any, float]] = {}
    failed: set[str] = set()

    def tell(key: str, what: str) -> None:
        say(f"[{len(done) + len(failed)}/{len(folds)}] {folds[key].title}: {what}")

    try:
        while waiting or running:
            for key in [key for key, (process, _) in running.items() if process.done()]:
                process, begin = running.pop(key)
                manifest = space.manifest(key)
                problem = "" if manifest else _problem(space, key, folds[key], process.problem)
                (done if manifest else failed).add(key)
                tell(key, f"{_outcome(manifest, problem)} ({time.monotonic() - begin:,.0f} s)")
            for key in list(waiting):
                needed = needs.get(key)
                if needed in failed:
                    waiting.remove(key)
                    failed.add(key)
                    space.fail(key, folds[key], "the fold that it goes on from failed")
                    tell(key, f"skipped, because {needed} failed")
                elif len(running) < jobs and (needed is None or needed in done):
                    waiting.remove(key)
                    running[key] = start(_request(space, key, folds[key], needed)), time.monotonic()
            time.sleep(_PAUSE)
    finally:
        for process, _ in running.values():
            process.stop()
    return {"folds": len(folds), "done": before, "finished": len(done) - before, "failed": len(failed)}


def _outcome(manifest: Optional[dict[str, Any]], problem: str) -> str:
    if manifest is None:
        return f"FAILED, {problem}"
    found = [
        f"{name.replace('_', ' on ')} {results['strict']['micro']['f1']:.3f}"
        for name, results in manifest.get("results", {}).items()
    ]
    offered = ", ".join(f"{count:,} of {name}" for name, count in manifest.get("offered", {}).items())
    return ", ".join(found) or (f"trained on documents that share no text with it: {offered}" if offered else "trained")


def _request(space: Workspace, key: str, fold: Fold, stem: Optional[str]) -> Path:
    path = space.fold(key) / "request.json"
    (space.fold(key) / "manifest.json").unlink(missing_ok=True)
    space.write(path, {"fold": fold.to_dict(), "profile": space.profile.name, "stem": stem})
    return path


def _problem(space: Workspace, key: str, fold: Fold, otherwise: str) -> str:
    """Why a fold is not done; what to say `otherwise`, where it could not say so itself."""
    try:
        record = json.loads((space.fold(key) / "manifest.json").read_text(encoding="utf-8"))
        return str(record["failed"]["problem"])
    except (OSError, ValueError, KeyError, TypeError):
        space.fail(key, fold, otherwise)
        return otherwise


def _settled(name: str, arms: Sequence[str], seeds: Optional[int]) -> Profile:
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
    except (ConnectionError, ValueError):  # ValueError: it is no address
        raise ClinieError("CIE484", address=address) from None
