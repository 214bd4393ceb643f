"""The command line: one verb, one function, each as short as what it says. Heavy imports wait until a verb needs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from flows import options as opt
from flows import upkeep, watching
from flows.pipes import note
from flows.usage import Verbs, verb, writable, write_json

app = typer.Typer(
    name="counterpoise",
    cls=Verbs,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Synthetic rows for scarce and imbalanced data, judged for missing modes and copies before they are published.",
    epilog="Exit codes: 0 PASS or WARN; 2 bad input or plan; 3 BLOCK; 4 INCONCLUSIVE; 130 stopped; 1 anything unexpected.",
)

RUNS = Path("runs")
SCORE_EXAMPLE = """Of a table, the default family scores: counterpoise score parts new_rows.csv --out unusual.csv

Of pictures, fit one that does: counterpoise run my_parts.yaml -o name=odd -o generator.use=image.vae

and then: counterpoise score odd new_pictures --out unusual.csv"""


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"counterpoise {version('counterpoise')}")
        raise typer.Exit


@app.callback()
def face(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    logs: opt.Logs = "text",
) -> None:
    """Synthetic rows for scarce and imbalanced data, judged for missing modes and copies before they are published."""


@app.command()
@verb
def init(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="A csv or parquet file, a folder of pictures or parquet files, here or in a store; or a database url.",
        ),
    ],
    target: Annotated[str | None, typer.Option("--target", "-t", help="The column of the classes.")] = None,
    query: Annotated[str | None, typer.Option("--query", help="The SELECT, when DATA is a database url.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The plan to write; <name>.yaml here if not given.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an existing plan.")] = False,
    use: Annotated[
        Literal["augment", "replace", "release", "photorealistic", "scores"] | None,
        typer.Option("--use", help="The rows go beside real ones, in their place, out of the house, to the eye; or scores."),
    ] = None,
    minutes: Annotated[float | None, typer.Option("--minutes", min=0.01, help="Minutes that training may take.")] = None,
    avoid: Annotated[
        list[str] | None,
        typer.Option(
            "--avoid",
            metavar="FAILURE",
            help="Not affordable: diversity (lost), blur, slow, instability, privacy; repeatable.",
        ),
    ] = None,
    licence: Annotated[
        Literal["permissive", "any"] | None, typer.Option("--licence", help="any: families whose licence limits you, too.")
    ] = None,
) -> None:
    """Look at the data and write a commented plan that runs as it stands. On a terminal it asks what no option says."""
    from flows.init import notes, write_plan
    from flows.init_choice import answers

    told, release = answers(use, minutes, avoid or [], licence=licence)
    path = write_plan(data, target=target, query=query, out=out, force=force, stated=told, release=release)
    print(path)
    for said in notes(path):
        note(f"· {said}")
    note(f"run it with: counterpoise run {path}")


@app.command()
@verb
def plan(
    config: Annotated[str, typer.Argument(metavar="PLAN", help="The plan; or data, for which a first plan is then made up.")],
    override: opt.Override = None,
    measure: Annotated[
        bool, typer.Option("--measure/--no-measure", help="Time some steps of the family's training (seconds).")
    ] = True,
    as_json: opt.Json = None,
    runs: opt.Runs = RUNS,
) -> int:
    """Dry run: the data, the family chosen and why, rows per class, cost, and the smallest mode that could not go missing."""
    from flows.begin import foreseen
    from flows.preview import without_family
    from flows.recognise import is_plan, other_of
    from flows.show import show_preview

    if (other := other_of(config)) is not None:
        facts = without_family(config, other)
    elif is_plan(config):
        facts = foreseen(Path(config), override, runs, measure)
    else:
        import tempfile

        from flows.init import write_plan

        with tempfile.TemporaryDirectory(prefix="counterpoise-") as folder:
            # The family is what is asked here, so the first plan names none.
            first = write_plan(config, target=None, query=None, out=Path(folder) / "plan.yaml", force=False, named=False)
            facts = foreseen(first, override, runs, measure)
    write_json(as_json, facts)
    show_preview(facts)
    return 2 if other is not None else 0


@app.command()
@verb
def run(
    config: Annotated[Path, typer.Argument(metavar="PLAN", help="The plan.")],
    override: opt.Override = None,
    engine: Annotated[
        Literal["local", "prefect"],
        typer.Option(
            help="prefect tells a server (an embedded one if none is named); local needs none. The bytes are the same."
        ),
    ] = "local",
    fresh: Annotated[bool, typer.Option("--fresh", help="Do every stage again, even with unchanged inputs.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Where a sweep finds that rows bring nothing, draw and publish them all the same.")
    ] = False,
    as_json: opt.Json = None,
    as_html: opt.Html = None,
    runs: opt.Runs = RUNS,
    quiet: opt.Quiet = False,
) -> int:
    """Read, profile, choose, split, fit, sample, judge, and publish or quarantine.

    Of tables that refer to one another: read, profile, fit, sample, and compare what is between them; nothing is published."""
    import shutil

    from flows.amount import NothingToAddError
    from flows.begin import begun, walked
    from flows.related import run_related
    from flows.show import show_outcome, show_place
    from validators.gate import EXIT_CODES

    this = begun(config, override, runs, fresh=fresh)
    if this.plan.several:
        return run_related(this, engine=engine, as_json=as_json, as_html=as_html, quiet=quiet)
    try:
        stages = walked(this, config, override, engine, quiet=quiet)
    except NothingToAddError as found:
        if not force:
            raise
        note(f"--force: {found}")
        filled = [*(override or []), "sample.rows=auto"]
        this = begun(config, filled, runs, fresh=fresh)
        stages = walked(this, config, filled, engine, quiet=quiet)
    for wanted, made in ((as_json, "report.json"), (as_html, "report.html")):
        if wanted:
            shutil.copyfile(this.folder / made, writable(wanted))
    show_outcome(this.folder, stages)
    show_place(this.folder)
    return EXIT_CODES[stages["judge"]["verdict"]]


@app.command()
@verb
def tune(
    config: Annotated[Path, typer.Argument(metavar="PLAN", help="The plan.")],
    minutes: Annotated[
        float, typer.Option("--minutes", min=0.01, help="Minutes of this machine for all trials together.")
    ] = 30.0,
    trials: Annotated[int | None, typer.Option("--trials", min=2, help="Settings to try; as time allows if not given.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The plan to write; <plan>.tuned.yaml beside it if not given.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an existing plan.")] = False,
    override: opt.Override = None,
    runs: opt.Runs = RUNS,
    quiet: opt.Quiet = False,
) -> None:
    """Search the settings of the plan's family by trials on reference rows, and write the plan with the best ones."""
    from flows.begin import tuned

    print("\n".join(tuned(config, override, runs, out, minutes=minutes, trials=trials, force=force, quiet=quiet)))


@app.command()
@verb
def judge(
    train: Annotated[Path, typer.Option("--train", help="Real rows the generator saw (csv or parquet).")],
    synthetic: Annotated[Path, typer.Option("--synthetic", help="The synthetic rows (csv or parquet).")],
    holdout: Annotated[
        Path | None, typer.Option("--holdout", help="Real rows the generator did not see; without them train is split.")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option("--reference", help="Real rows that fix the geometry; train if not given.")
    ] = None,
    target: Annotated[str | None, typer.Option("--target", "-t", help="The column of the classes.")] = None,
    intended: Annotated[Path | None, typer.Option("--intended", help="YAML mapping of class to intended share.")] = None,
    detect: opt.Detect = 0.05,
    alpha: Annotated[float, typer.Option("--alpha", min=1e-6, max=0.2, help="False-alarm rate over all attempts.")] = 0.01,
    attempt: Annotated[int, typer.Option("--attempt", min=1, help="Which try this is; try k spends alpha / 2^k.")] = 1,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the gate's own draws.")] = 0,
    utility: opt.Utility = "quick",
    privacy: opt.Privacy = False,
    quasi: opt.Quasi = None,
    secret: opt.Secret = None,
    rare: opt.Rare = 5,
    suite: Annotated[Path | None, typer.Option("--suite", help="A Great Expectations suite (JSON or YAML) to run too.")] = None,
    docs: Annotated[Path | None, typer.Option("--docs", help="Write Great Expectations' Data Docs to this folder.")] = None,
    as_json: opt.Json = None,
    as_html: opt.Html = None,
    quiet: opt.Quiet = False,
) -> int:
    """The gate alone, on anyone's synthetic data: csv, Parquet or folders of Parquet, in any order of columns."""
    from flows.judging import asked_privacy, judge_files
    from flows.show import show_decision

    for wanted in (as_json, as_html):
        if wanted:
            writable(wanted)  # before anything is judged
    decision = judge_files(
        train, holdout, synthetic, reference=reference, target=target, intended=intended, detect=detect, alpha=alpha,
        attempt=attempt, seed=seed, utility=utility, suite=suite, docs=docs, as_json=as_json, as_html=as_html, quiet=quiet,
        privacy=asked_privacy(quasi, secret, rare, asked=privacy),
    )  # fmt: skip
    show_decision(decision.to_json())
    return decision.exit_code


@app.command()
@verb
def sample(
    name: Annotated[str, typer.Argument(metavar="RUN", help="A run id, a plan's name (its latest run) or a run's folder.")],
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, help="How many rows, pictures or windows.")],
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            metavar="COLUMN=VALUE",
            help="What every row, or picture, must hold; COLUMN= asks for a missing value; repeatable.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same rows and ids, another one others.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="A .csv or .parquet file, or a folder (.parquet files, or pictures); csv on stdout if not given."
        ),
    ] = None,
    shards: Annotated[
        int | None, typer.Option("--shards", min=1, help="Files in the folder; one for each million rows if not given.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", min=1, help="Processes that draw shards; one for each core, or GPU of a cluster, if not given."
        ),
    ] = None,
    shard: Annotated[
        int | None, typer.Option("--shard", min=0, help="Draw this one alone, counted from 0: for work on several machines.")
    ] = None,
    on: opt.On = "local",
    runs: opt.Runs = RUNS,
) -> None:
    """More rows from a fitted model. They have not been judged."""
    from flows.more import more_rows

    more_rows(name, runs, rows=rows, where=where or [], seed=seed, out=out, shards=shards, workers=workers, only=shard, on=on)


@app.command()
@verb
def export(
    name: Annotated[str, typer.Argument(metavar="RUN", help="A run id, a plan's name (its latest run) or a run's folder.")],
    to: Annotated[
        Literal["coco", "yolo", "folder", "wav", "audio", "long", "csv"],
        typer.Option("--to", help="Pictures: coco, yolo, folder. Series: wav, audio (as datasets plays it), long, csv."),
    ],
    out: Annotated[Path | None, typer.Option("--out", help="The folder to write; <name>-<to> here if not given.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a folder that is not empty.")] = False,
    blocked: Annotated[bool, typer.Option("--blocked", help="Also what did not pass the gate.")] = False,
    polygons: Annotated[bool, typer.Option("--polygons", help="YOLO: outlines for segmentation in place of boxes.")] = False,
    runs: opt.Runs = RUNS,
) -> None:
    """A run's pictures, masks and boxes for detectors (COCO, YOLO, a folder for each class), or its series as sounds or long
    tables; train apart from holdout."""
    from flows.exporting import export_run
    from flows.show import show_export

    show_export(export_run(name, runs, to=to, out=out, blocked=blocked, force=force, polygons=polygons))


@app.command(epilog=SCORE_EXAMPLE)
@verb
def score(
    name: Annotated[
        str, typer.Argument(metavar="RUN", help="A run whose family scores: image.vae, series.vae, autoregressive, flow, vae.")
    ],
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="Pictures (a folder, an index csv, annotations), series, or rows (csv, Parquet)."),
    ],
    out: Annotated[Path | None, typer.Option("--out", help="A csv file; stdout if not given.")] = None,
    runs: opt.Runs = RUNS,
) -> None:
    """How unusual is each picture, window or row? The most unusual first, as csv.

    Of rows: `row,score`, where row counts the rows of DATA from 0."""
    from flows.scoring import score_rows

    score_rows(name, runs, data, out=out)


@app.command()
@verb
def report(
    name: Annotated[str, typer.Argument(metavar="RUN", help="A run id, a plan's name (its latest run) or a run's folder.")],
    runs: opt.Runs = RUNS,
    browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Show a run's verdict and where its report is."""
    from flows.run import Run
    from flows.show import show_decision, show_place

    this = Run.find(name, runs, having="report.html")
    page = this.folder / "report.html"
    show_decision(json.loads((this.folder / "report.json").read_text()))
    print(page)
    show_place(this.folder)
    if browser:
        typer.launch(page.resolve().as_uri())


@app.command(name="runs")
@verb
def list_runs(
    as_json: opt.Json = None,
    watched: Annotated[bool, typer.Option("--watch", "-w", help="Look again until Ctrl-C: how far are those at work?")] = False,
    every: Annotated[float, typer.Option("--every", min=0.1, help="Seconds between two looks of --watch.")] = 2.0,
    runs: opt.Runs = RUNS,
) -> None:
    """List the runs, latest first; of one at work, how far it is."""
    if watched:
        from flows.live import watch

        return watch(runs, every)
    from flows.run import all_runs
    from flows.show import run_rows, show_runs

    rows = run_rows(reversed(all_runs(runs)))
    write_json(as_json, rows)
    show_runs(rows)


@app.command()
@verb
def doctor(runs: opt.Runs = RUNS) -> int:
    """Check the installation and say what to do about what is wrong."""
    from flows.doctor import examine
    from flows.show import show_health

    findings = examine(runs)
    show_health(findings)
    return 0 if all(finding.well for finding in findings) else 2


@app.command()
@verb
def schema() -> None:
    """Print the JSON schema of a plan, families included."""
    from flows.plan_schema import plan_schema

    print(json.dumps(plan_schema(), indent=1, sort_keys=True))


upkeep.add(app)
watching.add(app)
