"""What every report says in words: the verdict, what to do, what the method can and cannot do."""

from dataclasses import replace
from datetime import UTC, date, datetime

from bulk_eraser.errors import lines_of
from bulk_eraser.evidence.summary import (
    OTHER_REASONS,
    TO_BE_ERASED,
    Failure,
    Hold,
    ListedRow,
    Standing,
    Summary,
)
from bulk_eraser.records import ROW_ERRORS
from bulk_eraser.shard import Shard, shards_in_words
from bulk_eraser.wording import (
    attempt_meaning,
    calendar_day,
    counted,
    moment,
    plural,
    printable,
    probed,
)

__all__ = [
    "ADVICE",
    "CERTIFICATE",
    "GLOSSARY",
    "HOW_TO_CHECK",
    "LIMITS",
    "deadline_lines",
    "each_row_once",
    "failure_meaning",
    "first_deadline",
    "from_run",
    "headline",
    "hold_meaning",
    "next_check",
    "remarks",
    "sums",
    "title",
    "where_held_too_late",
]

MOST_NAMES = 5
MOST_LINES = 5
ADVICE = {
    "job_failed": "Create new jobs: the same `run` command as before, with --retry-failed. If they "
    "fail again, ask Voyado and name the jid.",
    "refused": "Look at these keys where they come from. To send them once more: the same `run` "
    "command as before, with --retry-failed.",
    "failed": "Nothing was carried out for certain. Send them again: the same `run` command as "
    "before.",
    "unknown": "They may or may not have arrived. Send them again: the same `run` command as "
    "before; a second job does no harm.",
    "sent": "A run broke off before their answer came. Send them again: the same `run` command as "
    "before; a second job does no harm.",
    "not_reached": "Nothing was sent for them yet. Finish the batch: the same `run` command as "
    "before.",
    "in_progress": "Ask once a day with `follow`, until all jobs are finished.",
    "rejected": "Correct these rows in the input, then use the same `run` command as before.",
    "held_too_late": "Ask Voyado at once: a removal job waits a day before it begins, and the tool "
    "cannot take it back.",
    "excluded": "Not sent. Once a key is off the list, the next `run` sends it.",
    "overdue": "The month for an answer is over. Tell these people, and your data protection "
    "officer.",
}
"""What to do, by what became of a row."""

LIMITS = (
    "Each customer key was sent to the Voyado Elevate API (create-remove-customer-job), which "
    "creates a removal job for it. The job removes all data of the visitor, that of linked keys "
    "included. It cannot be undone.",
    "A job works on archived data: it waits until the next day, then until the data of the day of "
    "its creation is archived, which takes about six days in all. Only the status “done” counts as "
    "erased here.",
    "The key lives in a cookie of the person's browser. Data that a later visit with this cookie "
    "creates anew is not covered.",
    "Other systems that hold the person's data, such as Voyado Engage, are not covered. They need "
    "an erasure of their own.",
)
"""The method, and what it does not do."""

HOW_TO_CHECK = (
    "`bulk-eraser verify LEDGER --input FILE` reads ledger and input again and says whether every "
    "row is accounted for. It needs no API key and sends nothing.",
    "Without this program: docs/check_ledger.py, which the page of `report` prints as well, checks "
    "a ledger with nothing but Python's standard library. It must print the same head.",
    "The head is a digest over the whole ledger. If it is kept elsewhere, as in a receipt or on "
    "this page, nobody can change the ledger unnoticed.",
)
CERTIFICATE = {
    "processor": "Voyado Elevate (Voyado AB), by its GDPR API",
    "category": "all data that Elevate holds of the visitor under the customer key, and under keys "
    "that are linked to it",
    "procedure": "a removal job for each customer key; it is done when Elevate's status of it is "
    "“done”",
}
"""What a certificate of erasure says, beside what is in the ledger."""
_MORE = {
    "held_too_late": "came on hold too late",
    "overdue": "the month is over",
    "at_risk": "a week or less left",
}
"""Why a row is listed, beside its state."""
GLOSSARY = {
    "customer key": "the name under which Elevate knows a visitor; it should hold no personal data",
    "removal job": "what Elevate creates for each key that it is to erase",
    "jid": "the number of a job at Elevate",
    "ledger": "the text file in which every request and every answer was recorded before the next "
    "step",
    "head": "a digest over the whole ledger: SHA-256, 64 characters",
    "hold list": "keys that must not be erased yet; they were not sent",
    "pseudonym": "a digest of key and secret (HMAC-SHA256), which stands for the key",
}


def headline(summary: Summary) -> str:
    """The verdict in one sentence or two; “complete” only if everybody is erased."""
    all_, erased = summary.to_be_erased, summary.erased
    so_far = f"{erased:,} of {counted(all_, 'customer key')} {_are(all_)} erased"
    match summary.standing:
        case Standing.NOT_PROVEN:
            return f"Not proven: {printable(summary.error or 'the ledger was changed')}"
        case Standing.REHEARSAL:
            return "This was a rehearsal: nothing was erased."
        case Standing.NOBODY:
            return "Nobody is to be erased in this batch."
        case Standing.ALL_ERASED:
            whole = f"all {all_:,} customer keys are" if all_ != 1 else "the one customer key is"
            return f"Complete: {whole} erased."
        case Standing.NEEDS_ATTENTION:
            return (
                f"Not complete: {so_far}, but some rows need attention."
                if erased == all_
                else (f"Not complete: {so_far}, and some rows need attention.")
            )
        case _ if summary.missing_shards and erased == all_:
            return f"Of these shards alone, {so_far}."
        case _:
            return f"Not finished: {so_far}."


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _have(number: int) -> str:
    return "has" if number == 1 else "have"


def remarks(summary: Summary) -> list[str]:
    """What the verdict rests on, a sentence each, the gravest first."""
    states, deadlines, found = summary.states, summary.deadlines, list[str]()
    if summary.missing_shards:
        missing = shards_in_words([Shard(**it) for it in summary.missing_shards])
        found.append(f"No ledger of {missing} is among these, so nothing is said of them.")
    if summary.held_too_late:
        late = counted(summary.held_too_late, "key")
        found.append(f"{late} came on hold too late: already sent, or perhaps. Ask Voyado at once.")
    if deadlines.overdue:
        found.append(f"For {counted(deadlines.overdue, 'key')} the month for an answer is over.")
    if deadlines.at_risk:
        keys = counted(deadlines.at_risk, "key")
        found.append(f"For {keys} the month for an answer ends within a week.")
    if summary.failed:
        keys = counted(summary.failed, "key")
        found.append(f"{keys} will not be erased unless somebody acts.")
    if states["rejected"]:
        rows = counted(states["rejected"], "row")
        found.append(f"{rows} had no usable key, so nothing was sent for the person.")
    if states["not_reached"]:
        found.append(
            f"{counted(states['not_reached'], 'key')} {_are(states['not_reached'])} not sent yet."
        )
    if states["in_progress"]:
        jobs = counted(states["in_progress"], "removal job")
        found.append(
            f"{jobs} {_are(states['in_progress'])} not finished; that takes about six days."
        )
    if states["excluded"]:
        keys = counted(states["excluded"], "key")
        found.append(f"{keys} {_are(states['excluded'])} on the hold list, and not to be erased.")
    if any(ledger.tail_bytes for ledger in summary.ledgers):
        found.append(
            "Something follows the last commit of a ledger and proves nothing: a run "
            "broke off, or is under way."
        )
    if summary.not_good_stamps:
        stamps = counted(summary.not_good_stamps, "time stamp")
        found.append(f"{stamps} {_are(summary.not_good_stamps)} not good, or missing.")
    if summary.unstamped:
        ledgers = counted(summary.unstamped, "ledger")
        found.append(f"{ledgers} {_have(summary.unstamped)} no time stamp.")
    if summary.findings:
        words = ", ".join(summary.findings)
        found.append(f"The lines of the ledgers do not fit in some places ({words}).")
    if summary.probes is not None:
        found += probed(summary.probes)
    return found


def title(summary: Summary) -> str:
    """What the report is about: the order's reference, and the input or the ledgers."""
    names = [summary.inputs[-1].name] if summary.inputs else []
    names = names or [ledger.ledger for ledger in summary.ledgers]
    more = f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
    about = ", ".join(names[:MOST_NAMES]) + more
    references = ", ".join(summary.references[:MOST_NAMES])
    return f"{about} ({references})" if references else about


def sums(summary: Summary) -> list[str]:
    """How the numbers add up to those who are to be erased, and to those who are not."""
    found = []
    to_be = [summary.states[state] for state in TO_BE_ERASED if summary.states[state]]
    missing = summary.states.get("missing_shard", 0)
    settled = (*TO_BE_ERASED, "missing_shard")
    others = [n for state, n in summary.states.items() if n and state not in settled]
    keys = plural(sum(to_be), "customer key")
    for counts, what in (
        (to_be, f"{keys} to be erased"),
        (others, "on hold, without a usable key, or repeated"),
        ([missing] if missing else [], "of shards without a ledger among these"),
    ):
        if counts:
            parts = " + ".join(f"{count:,}" for count in counts)
            found.append(
                f"{parts} = {sum(counts):,} {what}." if len(counts) > 1 else f"{parts} {what}."
            )
    return found


def failure_meaning(failure: Failure) -> str:
    """Why, in words; the words of an error that is not known stay as they are."""
    word = printable(failure.error)
    if failure.state == "job_failed":
        return f"the job's last status is {word}"
    if failure.state == "sent":
        return "sent, and no answer is recorded"
    return f"{word}: {ROW_ERRORS.get(word) or attempt_meaning(word)}"


def hold_meaning(hold: Hold) -> str:
    """Why keys are on hold, as the hold list says it."""
    if hold.reason == OTHER_REASONS:
        return "other reasons, see the table of all rows"
    return f"“{printable(hold.reason)}”" if hold.reason else "the hold list gives no reason"


def where_held_too_late(summary: Summary) -> str:
    """The first lines of keys that came on hold too late; empty if there are none."""
    lines = sorted(row.line for row in summary.rows if row.why == "held_too_late")
    return lines_of(lines[:MOST_LINES], summary.held_too_late) if lines else ""


def each_row_once(listed: list[ListedRow]) -> list[tuple[ListedRow, str]]:
    """Each row once, with all for which it is listed: what became of it, a hold that came too late,
    and its month."""
    found: dict[ListedRow, list[list[str]]] = {}
    for row in listed:
        of_row = found.setdefault(replace(row, why=""), [])
        # Two rows that differ in nothing are told apart by their reasons, of which each has one.
        reasons = next((it for it in of_row if row.why not in it), None)
        if reasons is None:
            of_row.append(reasons := [])
        reasons.append(row.why)
    return [
        (
            row,
            "; ".join(
                [row.state.replace("_", " "), *(_MORE[why] for why in reasons if why in _MORE)]
            ),
        )
        for row, of_row in found.items()
        for reasons in of_row
    ]


def next_check(summary: Summary, now: datetime) -> str:
    """When to ask about jobs; empty if there is nothing to ask about."""
    if summary.next_check_at is None:
        return ""
    try:
        when = datetime.fromisoformat(summary.next_check_at).astimezone(UTC)
    except (ValueError, OverflowError):
        return ""
    due = f"; {counted(summary.due_now, 'job')} {_are(summary.due_now)} due" if when <= now else ""
    return f"Ask about the jobs {moment(when, now)}{due}."


def deadline_lines(summary: Summary) -> list[tuple[int, str]]:
    """How many, and what of their month for an answer; what is 0 is left out."""
    deadlines = summary.deadlines
    lines = [
        (deadlines.kept, "erased within the month"),
        (deadlines.late, "erased after the month"),
        (deadlines.ahead, "not erased, more than a week left"),
        (deadlines.at_risk, "not erased, a week or less left"),
        (deadlines.overdue, "not erased, and the month is over"),
    ]
    return [(count, what) for count, what in lines if count]


def first_deadline(summary: Summary) -> str:
    """The first deadline of somebody who is not erased, in words; empty if there is none."""
    first = summary.deadlines.first
    return calendar_day(date.fromisoformat(first)) if first else ""


def from_run(summary: Summary) -> str:
    """From when a month is counted where the ledger has no date; empty if it has all."""
    if summary.received:
        day = calendar_day(date.fromisoformat(summary.received))
        return f"Where the ledger has no date of the request, {day} was given."
    guessed = summary.deadlines.from_run
    if not guessed:
        return ""
    return (
        f"For {guessed:,} {plural(guessed, 'key')} no date of the request is known, so the month "
        "is counted from the day of the run."
    )
