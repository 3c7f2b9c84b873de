"""`tutelage curate`."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from tutelage.curate.agreement import agreement
from tutelage.curate.candidates import REVIEWER, Candidate, Fault, find_candidates
from tutelage.curate.checks import CHECKS
from tutelage.curate.choices import balance, best
from tutelage.curate.config import BalanceStep, BestStep, DuplicatesStep, JudgeStep, MaskStep, Step, read_steps
from tutelage.curate.duplicates import near_duplicates
from tutelage.curate.judge import Judge
from tutelage.curate.masking import Masked, Masker
from tutelage.curate.report import CurationReport, StepReport, shortened
from tutelage.project import Project
from tutelage.secrets import known_secrets
from tutelage.store import Judgement, TraceStore
from tutelage.trace import RUNS_TO_LEARN, Verdict

Progress = Callable[[str, int, int], None]  # steps, traces done, traces in all
MASKING = f"{REVIEWER}:mask"


def curate(
    project: Project,
    store: TraceStore,
    *,
    runs: Sequence[str] = RUNS_TO_LEARN,
    dry_run: bool = False,
    on_progress: Progress | None = None,
) -> CurationReport:
    """Run the project's steps of curation over the finished traces of `runs`, in order, and store what they say.

    What becomes of a trace follows from the settings, the traces and what persons said, not from what curation said
    before: a second run changes nothing more, and a step that was taken away gives its traces back. A trace that a
    person approved or rejected keeps that verdict. A dry run stores nothing and asks no judge. Raises TutelageError
    where a step is wrong or a judge cannot be reached; masked revisions and scores so far are then kept.
    """
    steps = read_steps(project)
    everything = find_candidates(store, list(dict.fromkeys(runs)))
    run = _Run(project, store, steps, dry_run, on_progress or (lambda *_: None))
    return run.over(everything)


class _Run:
    def __init__(
        self, project: Project, store: TraceStore, steps: Sequence[Step], dry_run: bool, on_progress: Progress
    ) -> None:
        self.project, self.store, self.steps, self.dry_run = project, store, steps, dry_run
        self.on_progress = on_progress
        # Made first, so that a mistake in them is said before anything is done.
        self.judges = {id(step): Judge(project, step) for step in steps if isinstance(step, JudgeStep)}
        known = known_secrets(project, None)
        self.maskers = {id(step): Masker(step, known) for step in steps if isinstance(step, MaskStep)}
        self.removed: dict[str, tuple[str, Fault]] = {}  # traces -> the step and why

    def over(self, everything: list[Candidate]) -> CurationReport:
        self.everything = everything
        kept = [each for each in everything if not (each.person and each.person.verdict is Verdict.REJECTED)]
        self.report = CurationReport(
            dry_run=self.dry_run, traces=len(everything), rejected_by_persons=len(everything) - len(kept)
        )
        for one_by_one, group in groupby(self.steps, lambda step: type(step) in CHECKS or isinstance(step, MaskStep)):
            steps = list(group)
            if one_by_one:
                kept = self._check(steps, kept)
            else:
                for step in steps:
                    kept = self._choose(step, kept)
        self.report.left = len(kept)
        self._write_verdicts()
        return self.report

    def _check(self, steps: list[Step], candidates: list[Candidate]) -> list[Candidate]:
        """Steps that look at one trace at a time look at each together, so that it is read once."""
        reports = [StepReport(step=step.step, looked_at=0, left=0) for step in steps]
        name = ", ".join(step.step for step in steps)
        kept = []
        for done, candidate in enumerate(candidates, 1):
            for step, report in zip(steps, reports, strict=True):
                report.looked_at += 1
                fault = self._fault(step, candidate, report)
                if fault and not candidate.spoken_for:
                    report.take({candidate.id: fault})
                    self.removed[candidate.id] = (step.step, fault)
                    break
                report.left += 1
            else:
                kept.append(candidate)
            candidate.forget()
            self.on_progress(name, done, len(candidates))
        self.report.steps += reports
        return kept

    def _fault(self, step: Step, candidate: Candidate, report: StepReport) -> Fault | None:
        if isinstance(step, MaskStep):
            return self._mask(self.maskers[id(step)], candidate, report)
        return CHECKS[type(step)](step, candidate, self.store)

    def _mask(self, masker: Masker, candidate: Candidate, report: StepReport) -> Fault | None:
        trace = candidate.trace(self.store)
        in_tools = masker.in_tools(trace)
        if in_tools:
            return Fault("a secret in a tool's definition", f"there is a {in_tools}, which no revision can mask")
        if candidate.settled and candidate.masked_before:
            return None  # a person saw what masking did and decided otherwise
        masked = masker.mask(trace)
        if masked:
            report.masked[candidate.id] = masked.note()
            self._revise(candidate, masked)
        return None

    def _revise(self, candidate: Candidate, masked: Masked) -> None:
        trace = candidate.trace(self.store)
        number = trace.revision + 1
        if self.dry_run:
            candidate.preview = trace.model_copy(update={"messages": tuple(masked.messages), "revision": number})
        else:
            number = self.store.revise(
                trace.id, masked.messages, base=trace.revision, author=MASKING, note=masked.note()
            )
        self.report.revisions += 1
        candidate.summary = candidate.summary._replace(revision=number)
        candidate.masked, candidate.newest = True, None
        candidate.forget()

    def _choose(self, step: Step, candidates: list[Candidate]) -> list[Candidate]:
        report = StepReport(step=step.step, looked_at=len(candidates), left=0)
        if isinstance(step, DuplicatesStep):
            advance = _Counter(self.on_progress, step.step, len(candidates))
            faults = near_duplicates(step, candidates, self.store, advance)
        elif isinstance(step, JudgeStep):
            faults = self._judge(step, candidates, report)
        elif isinstance(step, BestStep):
            faults = best(step, candidates)
        else:
            assert isinstance(step, BalanceStep)
            faults = balance(step, candidates, self.project.settings.seed)
        report.take(faults)
        self.removed |= {id: (step.step, fault) for id, fault in faults.items()}
        kept = shortened(candidates, faults)
        report.left = len(kept)
        self.report.steps.append(report)
        return kept

    def _judge(self, step: JudgeStep, candidates: list[Candidate], report: StepReport) -> dict[str, Fault]:
        judge = self.judges[id(step)]
        decided = [each for each in self.everything if each.person and each.person.verdict is not Verdict.UNDECIDED]
        scored = list({each.id: each for each in (*candidates, *decided)}.values())
        advance = _Counter(self.on_progress, step.step, len(scored))
        judged = judge.scores(self.store, scored, ask=not self.dry_run, advance=advance)
        report.asked, report.unscored = judged.asked, judged.failed
        pairs = [
            (judged.scores[each.id].score >= step.min_score, each.person.verdict is Verdict.APPROVED)
            for each in decided
            if each.person and each.id in judged.scores
        ]
        report.agreement = agreement(pairs)
        faults = {}
        for candidate in candidates:
            score = judged.scores.get(candidate.id)
            candidate.score = score.score if score else None
            if score and score.score < step.min_score and not candidate.spoken_for:
                detail = f"{judge.model} gives it {score.score:g} of 1 (at least {step.min_score:g}): {score.reason}"
                faults[candidate.id] = Fault(f"score below {step.min_score:g}", detail)
        return faults

    def _write_verdicts(self) -> None:
        wanted = [verdict for candidate in self.everything for verdict in self._verdict(candidate)]
        self.report.verdicts = len(wanted)
        if not self.dry_run:
            self.store.reviews.judge_each(wanted)

    def _verdict(self, candidate: Candidate) -> Iterator[tuple[Judgement, str, str]]:
        """What is to be recorded of a trace, unless it stands there already."""
        if candidate.settled:
            return
        verdict, reviewer, comment = self._decision(candidate)
        newest = candidate.newest
        there = (newest.verdict, newest.reviewer, newest.comment) if newest else (Verdict.UNDECIDED, "", "")
        if verdict is Verdict.UNDECIDED and there[0] is verdict:
            return
        if there != (verdict, reviewer, comment):
            yield candidate.judgement(verdict), reviewer, comment

    def _decision(self, candidate: Candidate) -> tuple[Verdict, str, str]:
        if candidate.id in self.removed:
            step, fault = self.removed[candidate.id]
            return Verdict.REJECTED, f"{REVIEWER}:{step}", f"Taken out: {fault.detail}."
        if candidate.masked and candidate.person:
            said = candidate.person
            comment = f"Only masked: {said.reviewer} gave revision {said.revision} this verdict."
            return said.verdict, MASKING, comment
        if candidate.masked and self._approves_masked(candidate):
            return Verdict.APPROVED, MASKING, "Only masked, and its reward is enough."
        return Verdict.UNDECIDED, REVIEWER, "No step takes it out."

    def _approves_masked(self, candidate: Candidate) -> bool:
        steps = [step for step in self.steps if isinstance(step, MaskStep)]
        reward = candidate.summary.reward
        return (
            all(step.approve for step in steps)
            and candidate.only_masked
            and reward is not None
            and reward >= self.project.settings.dataset.min_reward
        )


class _Counter:
    """Counts traces for a progress bar."""

    def __init__(self, on_progress: Progress, name: str, total: int) -> None:
        self._on_progress, self._name, self._total, self._done = on_progress, name, total, 0

    def __call__(self) -> None:
        self._done += 1
        self._on_progress(self._name, self._done, self._total)
