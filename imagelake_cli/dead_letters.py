"""`imagelake dead-letters`: what did not go through, and why; for operators with credentials of the stack's account."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import batched
from typing import Annotated, Any, Final

import typer
from botocore.exceptions import BotoCoreError, ClientError

from imagelake_cli import connection, moments, options
from imagelake_cli.dead_letter_queue import HIDDEN_SECONDS, DeadLetterQueue
from imagelake_cli.failures import ExitCode, explained
from imagelake_cli.formats import counted, say
from imagelake_cli.letters import ADVICE, Letter, Remedy
from imagelake_cli.progress import note
from imagelake_cli.redrive import SAID
from imagelake_cli.redriving import AT_ONCE, ImageRedriving, RedriveError, Redriven

app = typer.Typer(help="See to what did not go through: the messages in the dead-letter queue.", no_args_is_help=True)

_DONE: Final = {"redriven", "processed"}
"""Results after which a message has nothing to say any more."""
_REFUSALS: Final = (connection.NoLakeError, RedriveError, BotoCoreError, ClientError, OSError)

Code = Annotated[str | None, typer.Option("--code", help="Only those with this reason code, such as fault or lost.")]
Ids = Annotated[list[str] | None, typer.Argument(help="An image_id or the id of a message; by default all.")]
Chosen = Annotated[list[str] | None, typer.Argument(help="An image_id or the id of a message; may be repeated.")]
Everything = Annotated[bool, typer.Option("--all", help="Every message in the queue.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it. Without, it is only said what would be done.")]


@dataclass(frozen=True)
class Selection:
    """Which messages are meant; `met` notes the ids that were found."""

    ids: frozenset[str]
    code: str | None
    since: datetime | None
    until: datetime | None
    met: set[str] = field(default_factory=set)

    def takes(self, letter: Letter) -> bool:
        """Whether a message is among them."""
        names = {letter.message_id, letter.image_id} & self.ids
        is_meant = (
            (bool(names) or not self.ids)
            and self.code in (None, letter.code)
            and (self.since is None or letter.sent_at >= self.since)
            and (self.until is None or letter.sent_at <= self.until)
        )
        if is_meant:
            self.met.update(name for name in names if name)
        return is_meant

    @property
    def missed(self) -> list[str]:
        """The ids that no message had."""
        return sorted(self.ids - self.met)


@dataclass(frozen=True)
class End:
    """What became of a message, or would. `is_done`: nothing is left to do, so it can be deleted."""

    letter: Letter
    result: str
    said: str
    is_done: bool


type Treat = Callable[[Sequence[Letter]], Iterable[End]]


@app.command(
    "list",
    epilog=options.example("imagelake dead-letters list --code fault --since 2h"),
)
def list_(
    ids: Ids = None,
    code: Code = None,
    since: moments.Since = None,
    until: moments.Until = None,
    as_json: options.AsJson = False,
    stack: options.Stack = None,
    region: options.Region = None,
    profile: options.Profile = None,
) -> None:
    """List messages, oldest first: when, message, image, code, reason. They stay in the queue, for four days.

    A message is about an image that failed, or it is an event that could not be delivered. Others do not see the
    messages while it lists. Ends with 0, or with 3 when an id that is named is not in the queue.
    """
    selection = _narrowed(ids, code, since, until)
    with explained(*_REFUSALS):
        shown = _read(connection.dead_letter_queue(stack, region, profile), selection)
    for letter in shown:
        say(json.dumps(_plain(letter)) if as_json else _line(letter))
    counts = Counter(letter.code for letter in shown)
    note(counted(len(shown), "message") + "".join(f", {count} {name}" for name, count in counts.most_common()))
    _end(selection)


@app.command(epilog=options.example("imagelake dead-letters show 01a20297-8952-7c11-9d0a-5b1f3c2e4d6f"))
def show(
    ids: Annotated[list[str], typer.Argument(help="An image_id or the id of a message.")],
    as_json: options.AsJson = False,
    stack: options.Stack = None,
    region: options.Region = None,
    profile: options.Profile = None,
) -> None:
    """Print all of some messages, and what can be done about each.

    Ends with 0, or with 3 when an id that is named is not in the queue.
    """
    selection = Selection(frozenset(ids), None, None, None)
    with explained(*_REFUSALS):
        shown = _read(connection.dead_letter_queue(stack, region, profile), selection)
    for letter in shown:
        if as_json:
            typer.echo(json.dumps(_plain(letter)))
        else:
            say(_line(letter))
            typer.echo(f"{json.dumps(letter.message, indent=2)}\nTo do: {_advice(letter)}.\n")
    _end(selection)


@app.command(epilog=options.example("imagelake dead-letters redrive --code fault --yes"))
def redrive(
    ids: Chosen = None,
    code: Code = None,
    since: moments.Since = None,
    until: moments.Until = None,
    everything: Everything = False,
    yes: Yes = False,
    as_json: options.AsJson = False,
    stack: options.Stack = None,
    region: options.Region = None,
    profile: options.Profile = None,
) -> None:
    """Start the images of messages again, and delete each message once its image has been started.

    Correct the cause first. Without --yes it is a dry run. A message whose image is processed meanwhile is deleted as
    well; one that no redrive helps stays, with a sentence that says what does. It may be interrupted and run again.
    Ends with 0 when all were started, and with 3 when one was not.
    """
    selection = _selection(ids, code, since, until, everything=everything)
    with explained(*_REFUSALS):
        queue = connection.dead_letter_queue(stack, region, profile)
        redriving = connection.image_redriving(stack, region, profile)
        redrive_all = _redriver(redriving, dry_run=not yes)
        ends, left = _treat(queue, selection, redrive_all, yes=yes, as_json=as_json)
    _end(selection, left, is_well=all(end.is_done or end.result == "redrivable" for end in ends))


@app.command(epilog=options.example("imagelake dead-letters drop --code unreadable_item --until 1d --yes"))
def drop(
    ids: Chosen = None,
    code: Code = None,
    since: moments.Since = None,
    until: moments.Until = None,
    everything: Everything = False,
    yes: Yes = False,
    as_json: options.AsJson = False,
    stack: options.Stack = None,
    region: options.Region = None,
    profile: options.Profile = None,
) -> None:
    """Delete messages that nobody has to see to any more. Without --yes it is a dry run.

    Images keep their outcome and reason, and can be redriven by image_id or hour as before. Ends with 0, or with 3
    when a message that was meant is still there.
    """
    selection = _selection(ids, code, since, until, everything=everything)
    result, said = ("dropped", "deleted") if yes else ("droppable", "would be deleted")
    with explained(*_REFUSALS):
        queue = connection.dead_letter_queue(stack, region, profile)
        _, left = _treat(
            queue,
            selection,
            lambda letters: [End(letter, result, said, is_done=True) for letter in letters],
            yes=yes,
            as_json=as_json,
        )
    _end(selection, left)


def _selection(
    ids: Sequence[str] | None,
    code: str | None,
    since: datetime | None,
    until: datetime | None,
    *,
    everything: bool,
) -> Selection:
    is_narrowed = bool(ids or code or since or until)
    if is_narrowed == everything:
        raise typer.BadParameter("give ids, --code, --since or --until; or --all")
    return _narrowed(ids, code, since, until)


def _narrowed(ids: Sequence[str] | None, code: str | None, since: datetime | None, until: datetime | None) -> Selection:
    if since and until and since > until:
        raise typer.BadParameter("must not be after --until", param_hint="--since")
    return Selection(frozenset(ids or ()), code, since, until)


def _read(queue: DeadLetterQueue, selection: Selection) -> list[Letter]:
    _tell_hidden(queue)
    return [letter for letter in queue.letters() if selection.takes(letter)]


def _treat(
    queue: DeadLetterQueue, selection: Selection, treat: Treat, *, yes: bool, as_json: bool
) -> tuple[list[End], set[str]]:
    """Have what is meant treated, tell of each, and delete what is done if `yes`.

    Returns:
        What became of which, and the message_ids of those that could not be treated or deleted.
    """
    ends: list[End] = []

    def act(letters: Sequence[Letter]) -> Iterable[str]:
        treated = list(treat(letters))
        for end in treated:
            _tell(end, as_json=as_json)
        ends.extend(treated)
        return [end.letter.message_id for end in treated if end.is_done]

    meant = _read(queue, selection)
    left: set[str] = set()
    if yes:
        left = queue.treat([letter.message_id for letter in meant], act)
    else:
        for some in batched(meant, AT_ONCE, strict=False):
            act(some)
    counts = Counter((end.letter.code, end.said) for end in ends)
    for (name, said), count in sorted(counts.items()):
        note(f"{count:6}  {name}: {said}")
    note(counted(len(ends), "message") + ("; nothing was done, --yes does it" if ends and not yes else ""))
    return ends, left


def _redriver(redriving: ImageRedriving, *, dry_run: bool) -> Treat:
    """Has the images of messages started, each once, however many messages it has."""
    known: dict[tuple[Remedy, str], Redriven] = {}

    def redrive(letters: Sequence[Letter]) -> Iterable[End]:
        for remedy, start in ((Remedy.IMAGE, redriving.redrive), (Remedy.ARRIVAL, redriving.start_arrivals)):
            named = {name: (remedy, name) for one in letters if one.remedy is remedy and (name := _name(one))}
            new = [name for name, place in named.items() if place not in known]
            answers = [one for some in start(new, dry_run=dry_run) for one in some]
            known.update({named[name]: one for name, one in zip(new, answers, strict=True)})
        for letter in letters:
            if letter.remedy in ADVICE:
                yield End(letter, "not_an_image", ADVICE[letter.remedy], is_done=False)
            else:
                yield _end_of(letter, known[letter.remedy, _name(letter)])

    return redrive


def _name(letter: Letter) -> str:
    """What an image is started by."""
    return str(letter.raw_key if letter.remedy is Remedy.ARRIVAL else letter.image_id)


def _end_of(letter: Letter, one: Redriven) -> End:
    return End(letter, one.result, SAID[one.result], is_done=one.result in _DONE)


def _tell(end: End, *, as_json: bool) -> None:
    if as_json:
        plain = {"message_id": end.letter.message_id, "image_id": end.letter.image_id, "code": end.letter.code}
        typer.echo(json.dumps(plain | {"result": end.result}))
    else:
        say("  ".join((end.letter.message_id, end.letter.image_id or "-", end.letter.code, end.said)))


def _tell_hidden(queue: DeadLetterQueue) -> None:
    if hidden := queue.hidden():
        note(
            f"About {hidden} more are hidden, because somebody reads them or a command was killed: "
            f"they are seen again within {HIDDEN_SECONDS // 60} minutes."
        )


def _end(selection: Selection, left: Iterable[str] = (), *, is_well: bool = True) -> None:
    for name in selection.missed:
        note(f"{name}: no message has this id or image_id")
    for name in left:
        note(f"{name}: it is still there, or somebody else is reading it; run the command again")
    if selection.missed or left or not is_well:
        raise typer.Exit(ExitCode.INCOMPLETE)


def _plain(letter: Letter) -> dict[str, Any]:
    return {
        "message_id": letter.message_id,
        "sent_at": letter.sent_at.isoformat(timespec="seconds"),
        "image_id": letter.image_id,
        "status": letter.status,
        "code": letter.code,
        "can_be_redriven": letter.remedy in (Remedy.IMAGE, Remedy.ARRIVAL),
        "message": letter.message,
    }


def _line(letter: Letter) -> str:
    """Whole fields: an id that is cut is of no use."""
    fields = f"{letter.sent_at:%Y-%m-%dT%H:%M:%SZ}", letter.message_id, letter.image_id, letter.status, letter.reason
    return "  ".join(field or "-" for field in fields)


def _advice(letter: Letter) -> str:
    is_redrivable = letter.remedy in (Remedy.IMAGE, Remedy.ARRIVAL)
    redriven = f"correct the cause, and run imagelake dead-letters redrive {letter.message_id} --yes"
    return redriven if is_redrivable else ADVICE[letter.remedy]
