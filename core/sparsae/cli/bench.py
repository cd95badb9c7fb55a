"""`sparsae bench`: the fair race, its records, and the question replayed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sparsae.cli.report import print_json
from sparsae.errors import MissingExtraError, ParameterError, SparsaeError

if TYPE_CHECKING:
    from sparsae.bench.record import Recorder, Session
    from sparsae.bench.settings import Settings

_FILE = click.Path(dir_okay=False, path_type=Path)


def _words(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Split a list with commas."""
    return tuple(word.strip() for word in (value or "").split(",") if word.strip())


def _counts(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...]:
    words = _words(ctx, param, value)
    if not all(word.isdigit() for word in words):
        raise click.BadParameter(f"{value!r} is no list of thread counts such as 1,2.")
    return tuple(map(int, words))


@click.group(invoke_without_command=True)
@click.option("--backends", callback=_words, help="Names with commas; a name given twice races against itself.")
@click.option("--threads", callback=_counts, help="Thread counts with commas; default: 1 and the CPU budget.")
@click.option("--case", "cases", callback=_words, default="objective", help="backprop, objective, train; with commas.")
@click.option(
    "--size", "sizes", callback=_words, default="question", help="SAMPLESxINPUTSxHIDDEN or question, mnist, small."
)
@click.option("--dtype", "dtypes", callback=_words, default="f8", help="f8, f4; with commas.")
@click.option("--reference", help="The backend that the others are divided by; default: numpy.")
@click.option("--quick", "preset", flag_value="quick", help="About a minute; for a first look.")
@click.option("--publish", "preset", flag_value="publish", help="Two sessions, which must give the same tiers.")
@click.option("--launches", type=int, help="Starts of all processes.")
@click.option("--rounds", type=int, help="Visits to each cell in a launch.")
@click.option("--timeout", default=120.0, help="Seconds that one answer of a worker may take.", show_default=True)
@click.option("--seed", default=0, help="Of the data and the order of turns.", show_default=True)
@click.option("--json", "json_file", type=_FILE, help="Write the record, JSON lines.")
@click.option("--plot", "plot_file", type=_FILE, help="Draw the ratios.")
@click.option("--html", "html_file", type=_FILE, help="Write one self-contained page.")
@click.option("--force", is_flag=True, help="Replace files that exist.")
@click.option("--baseline", type=_FILE, help="A record to compare with.")
@click.option("--scaling", is_flag=True, help="A quarter and four times the rows, inputs, hidden units; every size.")
@click.option("--question", is_flag=True, help="Replay the question that started this project.")
@click.option("--list", "only_list", is_flag=True, help="Say what would be raced, and stop.")
@click.pass_context
def bench(ctx: click.Context, /, **options: Any) -> int | None:
    """Race backends so that nobody can be fooled.

    Each backend runs in a pinned process of its own; results are checked, thread use is verified, turns are shuffled.
    """
    if ctx.invoked_subcommand is not None:
        return None
    if options["question"]:
        files = (options["json_file"], options["plot_file"], options["html_file"])
        return _question(*files, quick=options["preset"] == "quick", seed=options["seed"], force=options["force"])
    return _race(**options)


@bench.command()
@click.argument("file", type=_FILE)
@click.option("--plot", "plot_file", type=_FILE, help="Draw the ratios.")
@click.option("--html", "html_file", type=_FILE, help="Write one self-contained page.")
@click.option("--force", is_flag=True, help="Replace files that exist.")
@click.option("--json", "as_json", is_flag=True, help="Print the standings for programs.")
def show(file: Path, plot_file: Path | None, html_file: Path | None, *, force: bool, as_json: bool) -> None:
    """Show the standings of a record."""
    from sparsae.bench.record import read

    _check_outputs(plot_file, html_file, force=force)
    sessions = read(file)
    if as_json:
        print_json([_report(session) for session in sessions])
    else:
        _show(sessions)
    _draw(sessions, plot_file, html_file)


@bench.command()
@click.argument("a", type=_FILE)
@click.argument("b", type=_FILE)
def compare(a: Path, b: Path) -> None:
    """Compare the last sessions of two records; refused when they were measured under different conditions."""
    from sparsae.bench.record import read

    _compare(read(a)[-1], read(b)[-1])


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
    from sparsae.bench.record import Recorder, check_baseline, read
    from sparsae.bench.scaling import sweep
    from sparsae.bench.settings import Settings, parse_size

    if scaling:
        choices["sizes"] = [size for given in choices["sizes"] for size in sweep(parse_size(given))]
    settings = Settings.checked(preset=preset or ("quick" if scaling else "default"), **choices)
    if only_list:
        for heat in settings.heats():
            for cell in settings.cells():
                click.echo(f"{heat.key}: {cell.key}")
        return 0
    _check_outputs(plot_file, html_file, force=force)
    old = read(baseline)[-1] if baseline else None
    if old is not None:
        check_baseline(old, settings)
    with Recorder(json_file, force=force) as recorder:
        interrupted = _run(settings, recorder)
    sessions = recorder.sessions()
    _show(sessions)
    _draw(sessions, plot_file, html_file)
    if old is not None:
        _compare(old, sessions[-1])
    if settings.sessions > 1 and len(sessions) > 1 and not _agree(*sessions[:2]):
        return 1
    return 130 if interrupted else 0


def _run(settings: Settings, recorder: Recorder) -> bool:
    """Run every session; return whether Ctrl-C ended it."""
    from sparsae.bench.race import run
    from sparsae.cli.progress import share_bar

    try:
        with share_bar() as show_share:
            for number in range(settings.sessions):

                def part(what: str, share: float, number: int = number) -> None:
                    show_share(what, (number + share) / settings.sessions)

                run(settings.with_seed(settings.seed + number), recorder, part)
    except KeyboardInterrupt:
        click.echo("Interrupted; this is what was measured.", err=True)
        return True
    return False


def _show(sessions: tuple[Session, ...]) -> None:
    from sparsae.cli.race_table import print_session

    for session in sessions:
        print_session(session)


def _report(session: Session) -> dict[str, Any]:
    groups = [group.to_dict() for group in session.groups()]
    return {"settings": session.settings.to_dict(), "standings": groups, "notes": session.notes}


def _compare(a: Session, b: Session) -> None:
    from sparsae.bench.compare import compare_sessions
    from sparsae.cli.race_table import print_changes

    print_changes(compare_sessions(a, b))


def _agree(a: Session, b: Session) -> bool:
    """Say whether two sessions give the same tiers."""
    from sparsae.bench.compare import compare_sessions, same_tiers

    try:
        agree = same_tiers(compare_sessions(a, b))
    except SparsaeError as error:
        click.echo(f"Not for publication: {error}", err=True)
        return False
    click.echo("Both sessions give the same tiers." if agree else "Not for publication: the two sessions disagree.")
    return agree


def _check_outputs(*files: Path | None, force: bool) -> None:
    """Refuse before the race what would fail after it."""
    from sparsae.errors import OutputExistsError

    for file in files:
        if file is not None and file.exists() and not force:
            raise OutputExistsError(f"{file} exists; give another name, or --force to replace it.")
        if file is not None and not file.parent.is_dir():
            raise ParameterError(f"{file} cannot be written: there is no folder {file.parent}.")


def _draw(sessions: tuple[Session, ...], plot_file: Path | None, html_file: Path | None) -> None:
    if html_file is not None:
        from sparsae.bench.html import page

        html_file.write_text(page(sessions), encoding="utf-8")
        click.echo(f"Wrote {html_file}.")
    if plot_file is not None:
        try:
            from sparsae.bench.plot import draw
        except ImportError as error:
            raise MissingExtraError(
                f"Drawing needs matplotlib ({error}); pip install 'sparsae[plot]' brings it."
            ) from error
        draw(sessions, plot_file)
        click.echo(f"Wrote {plot_file}.")


def _question(
    json_file: Path | None, plot_file: Path | None, html_file: Path | None, *, quick: bool, seed: int, force: bool
) -> int:
    from sparsae.bench.question import run_question
    from sparsae.cli.progress import share_bar
    from sparsae.cli.question_table import print_question

    if plot_file is not None or html_file is not None:
        raise ParameterError("The question is a table of its own; --plot and --html belong to the race.")
    _check_outputs(json_file, force=force)
    rounds, launches = (4, 1) if quick else (8, 3)
    with share_bar() as show_share:
        report = run_question(seed=seed, rounds=rounds, launches=launches, progress=show_share)
    print_question(report)
    if json_file is not None:
        json_file.write_text(json.dumps(report.to_dict(), indent=2) + "\n", encoding="utf-8")
        click.echo(f"Wrote {json_file}.")
    return 130 if report.interrupted else 0
