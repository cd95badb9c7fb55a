"""`sparsae bench`: the race, its records, and the question replayed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sparsae.cli.command import Group
from sparsae.cli.process import INTERRUPTED
from sparsae.cli.report import json_text, print_json, say
from sparsae.errors import MissingExtraError, ParameterError, SparsaeError

if TYPE_CHECKING:
    from sparsae.bench.plan import RacePlan
    from sparsae.bench.record import RaceRecorder, RaceSession

_FILE = click.Path(dir_okay=False, path_type=Path)


def _parse_names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Split a list with commas."""
    return tuple(word.strip() for word in (value or "").split(",") if word.strip())


def _parse_counts(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...]:
    """Split a list of numbers with commas."""
    words = _parse_names(ctx, param, value)
    if not all(word.isascii() and word.isdigit() for word in words):
        raise click.BadParameter(f"{value!r} is no list of thread counts such as 1,2.")
    return tuple(map(int, words))


GROUPS = {
    "What is raced": (
        "backends",
        "threads",
        "cases",
        "sizes",
        "dtypes",
        "activation",
        "k",
        "reference",
        "scaling",
        "question",
        "only_list",
    ),
    "How long": ("preset", "launches", "rounds", "timeout", "seed"),
    "Output": ("json_file", "plot_file", "html_file", "force", "baseline"),
}
EXAMPLES = (
    "sparsae bench --quick",
    "sparsae bench --backends fused,numba --json race.jsonl --html race.html",
    "sparsae bench --activation topk --k 32 --size 2048x784x4096 --dtype f4",
    "sparsae bench show race.jsonl",
    "sparsae bench compare before.jsonl after.jsonl",
    "sparsae bench --question",
)


@click.group(cls=Group, invoke_without_command=True, groups=GROUPS, examples=EXAMPLES)
@click.option("--backends", callback=_parse_names, help="Names with commas; a name given twice races against itself.")
@click.option("--threads", callback=_parse_counts, help="Thread counts with commas; default: 1 and the CPU budget.")
@click.option(
    "--case", "cases", callback=_parse_names, default="objective", help="backprop, objective, train; with commas."
)
@click.option(
    "--size",
    "sizes",
    callback=_parse_names,
    default="question",
    help="SAMPLESxINPUTSxHIDDEN or question, mnist, wide, language, small.",
)
@click.option("--dtype", "dtypes", callback=_parse_names, default="f8", help="f8, f4; with commas.")
@click.option("--activation", help="Hidden unit: sigmoid, relu, topk, jumprelu [default: sigmoid].")
@click.option("--k", type=int, help="Activations kept in a row, of topk.")
@click.option("--reference", help="The backend that the others are compared with; default: numpy.")
@click.option("--quick", "preset", flag_value="quick", help="About a minute; for a first look.")
@click.option("--publish", "preset", flag_value="publish", help="Two sessions, which must give the same tiers.")
@click.option("--launches", type=int, help="Starts of all processes.")
@click.option("--rounds", type=int, help="Visits to each cell in a launch.")
@click.option("--timeout", default=120.0, help="Seconds that one answer of a worker may take.", show_default=True)
@click.option("--seed", default=0, help="Of the data and the order of turns.", show_default=True)
@click.option("--json", "json_file", type=_FILE, help="Write the record, JSON lines.")
@click.option("--plot", "plot_file", type=_FILE, help="Draw the ratios; needs [plot].")
@click.option("--html", "html_file", type=_FILE, help="Write one self-contained page; needs [plot].")
@click.option("--force", is_flag=True, help="Replace files that exist.")
@click.option("--baseline", type=_FILE, help="A record to compare with.")
@click.option("--scaling", is_flag=True, help="A quarter and four times the rows, inputs, hidden units; every size.")
@click.option("--question", is_flag=True, help="Replay the question that started this project.")
@click.option("--list", "only_list", is_flag=True, help="Say what would be raced, and stop.")
@click.pass_context
def bench(ctx: click.Context, /, **options: Any) -> int | None:
    """Race backends under equal conditions.

    Each backend runs in a pinned process of its own; results are checked, thread use is verified, turns are shuffled.
    """
    if ctx.invoked_subcommand is not None:
        return None
    if options["question"]:
        if options["activation"] or options["k"]:
            raise ParameterError("The question is about sigmoid units; --activation and --k belong to the race.")
        files = (options["json_file"], options["plot_file"], options["html_file"])
        return _question(*files, quick=options["preset"] == "quick", seed=options["seed"], force=options["force"])
    return _race(**options)


@bench.command(examples=("sparsae bench show race.jsonl", "sparsae bench show race.jsonl --html race.html"))
@click.argument("file", type=_FILE)
@click.option("--plot", "plot_file", type=_FILE, help="Draw the ratios; needs [plot].")
@click.option("--html", "html_file", type=_FILE, help="Write one self-contained page; needs [plot].")
@click.option("--force", is_flag=True, help="Replace files that exist.")
@click.option("--json", "as_json", is_flag=True, help="Print the standings for programs.")
def show(file: Path, plot_file: Path | None, html_file: Path | None, *, force: bool, as_json: bool) -> None:
    """Show the standings of a record."""
    from sparsae.bench.record import read_record

    _check_outputs({"--plot": plot_file, "--html": html_file}, {"FILE": file}, force=force)
    sessions = read_record(file)
    if as_json:
        print_json([_report(session) for session in sessions])
    else:
        _show(sessions)
    _draw(sessions, plot_file, html_file)


@bench.command(examples=("sparsae bench compare before.jsonl after.jsonl",))
@click.argument("a", type=_FILE)
@click.argument("b", type=_FILE)
@click.option("--json", "as_json", is_flag=True, help="Print a report for programs.")
def compare(a: Path, b: Path, *, as_json: bool) -> None:
    """Compare the last sessions of two records; refused when they were measured under different conditions."""
    from sparsae.bench.compare import compare_sessions
    from sparsae.bench.record import read_record

    before, after = read_record(a)[-1], read_record(b)[-1]
    if as_json:
        print_json([change.to_dict() for change in compare_sessions(before, after)])
    else:
        _compare(before, after)


def _race(
    *,
    json_file: Path | None,
    plot_file: Path | None,
    html_file: Path | None,
    baseline: Path | None,
    preset: str | None,
    force: bool,
    question: bool,
    scaling: bool,
    only_list: bool,
    **choices: Any,
) -> int:
    from sparsae.bench.plan import RacePlan
    from sparsae.bench.record import RaceRecorder, check_baseline, read_record
    from sparsae.bench.scaling import sweep
    from sparsae.bench.workload import parse_size

    if scaling:
        choices["sizes"] = [size for given in choices["sizes"] for size in sweep(parse_size(given))]
    choices["activation"] = choices["activation"] or "sigmoid"
    plan = RacePlan.checked(preset=preset or ("quick" if scaling else "default"), **choices)
    if only_list:
        for workload in plan.workloads():
            for cell in plan.cells():
                say(f"{workload.key}: {cell.key}")
        return 0
    outputs = {"--json": json_file, "--plot": plot_file, "--html": html_file}
    _check_outputs(outputs, {"--baseline": baseline}, force=force)
    old = read_record(baseline)[-1] if baseline else None
    if old is not None:
        check_baseline(old, plan)
    with RaceRecorder(json_file, force=force) as recorder:
        interrupted = _run(plan, recorder)
    sessions = recorder.sessions()
    _show(sessions)
    _draw(sessions, plot_file, html_file)
    if old is not None:
        _compare(old, sessions[-1])
    if plan.sessions > 1 and len(sessions) > 1 and not _agree(*sessions[:2]):
        return 1
    return INTERRUPTED if interrupted else 0


def _run(plan: RacePlan, recorder: RaceRecorder) -> bool:
    """Run every session; return whether Ctrl-C ended it."""
    from sparsae.bench.contest import part_of
    from sparsae.bench.race import run
    from sparsae.cli.progress import progress_bar

    try:
        with progress_bar() as show_share:
            for number in range(plan.sessions):
                run(plan.with_seed(plan.seed + number), recorder, part_of(show_share, number, plan.sessions))
    except KeyboardInterrupt:
        say("Interrupted; this is what was measured.", err=True)
        return True
    return False


def _show(sessions: tuple[RaceSession, ...]) -> None:
    from sparsae.cli.race_table import print_session

    for session in sessions:
        print_session(session)


def _report(session: RaceSession) -> dict[str, Any]:
    standings = [table.to_dict() for table in session.standings()]
    return {"plan": session.plan.to_dict(), "standings": standings, "notes": session.notes}


def _compare(a: RaceSession, b: RaceSession) -> None:
    from sparsae.bench.compare import compare_sessions
    from sparsae.cli.race_table import print_changes

    print_changes(compare_sessions(a, b))


def _agree(a: RaceSession, b: RaceSession) -> bool:
    """Say whether two sessions give the same tiers."""
    from sparsae.bench.compare import compare_sessions, same_tiers

    try:
        agree = same_tiers(compare_sessions(a, b))
    except SparsaeError as error:
        say(f"Not for publication: {error}", err=True)
        return False
    say("Both sessions give the same tiers." if agree else "Not for publication: the two sessions disagree.")
    return agree


def _check_outputs(outputs: dict[str, Path | None], inputs: dict[str, Path | None], *, force: bool) -> None:
    """Refuse before the race what could not be written after it, or would be written over."""
    from sparsae.files import check_distinct, check_writable

    check_distinct(outputs, inputs)
    for option, path in outputs.items():
        if path is not None:
            check_writable(path, force=force)
            if option != "--json":
                _check_picture(option, path)


def _check_picture(option: str, path: Path) -> None:
    """Refuse before the race a picture for which a library or a format is missing."""
    try:
        from sparsae.bench.report.figures import picture_format
    except ImportError as error:
        raise MissingExtraError(
            f"{option} needs matplotlib ({error}); pip install 'sparsae[plot]' brings it."
        ) from error
    if option == "--plot":
        picture_format(path)


def _draw(sessions: tuple[RaceSession, ...], plot_file: Path | None, html_file: Path | None) -> None:
    """Write the page and the picture."""
    from sparsae.files import atomic_write_text

    if html_file is not None:
        from sparsae.bench.report.page import make_page

        atomic_write_text(html_file, make_page(sessions))
        say(f"Wrote {html_file}.")
    if plot_file is not None:
        from sparsae.bench.report.figures import draw

        draw(sessions, plot_file)
        say(f"Wrote {plot_file}.")


def _question(
    json_file: Path | None, plot_file: Path | None, html_file: Path | None, *, quick: bool, seed: int, force: bool
) -> int:
    from sparsae.bench.question import run_question
    from sparsae.cli.progress import progress_bar
    from sparsae.cli.question_table import print_question
    from sparsae.files import atomic_write_text

    if plot_file is not None or html_file is not None:
        raise ParameterError("The question is a table of its own; --plot and --html belong to the race.")
    _check_outputs({"--json": json_file}, {}, force=force)
    rounds, launches = (4, 1) if quick else (8, 3)
    with progress_bar() as show_share:
        report = run_question(seed=seed, rounds=rounds, launches=launches, progress=show_share)
    print_question(report)
    if json_file is not None:
        atomic_write_text(json_file, json_text(report.to_dict()) + "\n")
        say(f"Wrote {json_file}.")
    return INTERRUPTED if report.interrupted else 0
