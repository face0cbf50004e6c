"""Words for people: numbers, lines, times, states. What programs read is in `--json`, exact."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from bulk_eraser.elevate.endpoints import JobKind
from bulk_eraser.errors import Attention, lines_of
from bulk_eraser.ledger.probes import Probes
from bulk_eraser.records import ATTEMPT_ERRORS, ROW_ERRORS

__all__ = [
    "STATE_MEANINGS",
    "SUSPECTS",
    "a_job_of",
    "attempt_error",
    "attempt_meaning",
    "attention_in_words",
    "attention_meaning",
    "attention_table",
    "calendar_day",
    "counted",
    "counts_table",
    "duration",
    "labels_of",
    "moment",
    "plural",
    "printable",
    "probed",
    "row_error",
    "run_ending",
    "stamp_in_words",
    "stamped_before",
    "suspect",
    "target_in_words",
    "time_in_words",
]

MOST_NAMED = 3
"""People that are named of those whose data came back."""

_LABELS = {
    "accepted": "accepted: the service created a removal job",
    "already_settled": "accepted in an earlier run: the removal job exists",
    "job_failed": "job failed: the last status of an earlier run's job is error or not_found",
    "failed": "failed: refused, or out of attempts",
    "unknown": "unknown: may or may not have arrived",
    "not_exported": "not exported: the copy is not downloaded yet, so nothing was sent",
    "not_reached": "not reached in this run",
    "rejected": "rejected: no usable key, not sent",
    "duplicate": "duplicate: the key is in an earlier row",
    "excluded": "excluded: on the hold list",
}


def labels_of(kind: JobKind) -> dict[str, str]:
    """What became of a row, by the words of `counts` of a run that creates jobs of this kind."""
    a_removal_job, a_job = a_job_of(JobKind.REMOVAL), a_job_of(kind)
    return {
        word: text.replace(a_removal_job, a_job).replace(JobKind.REMOVAL, kind)
        for word, text in _LABELS.items()
    }


def a_job_of(kind: JobKind) -> str:
    """`a removal job`, `an export job`."""
    return f"an {kind}" if kind is JobKind.EXPORT else f"a {kind}"


STATE_MEANINGS = {
    "erased": "erased: the removal job is done",
    "in_progress": "in progress: accepted, but the removal job is not finished",
    "job_failed": "job failed: accepted, but the job's last status is error or not_found",
    "refused": "refused: the service refused the key permanently",
    "failed": "failed: certainly not carried out",
    "unknown": "unknown: may or may not have arrived",
    "exported": "exported: the result is downloaded (or there was no data)",
    "excluded": "excluded: on the hold list, not sent",
    "rejected": "rejected: no usable key, not sent",
    "duplicate": "duplicate: the key is in an earlier row",
    "sent": "sent, without a recorded outcome: may have arrived",
    "not_reached": "not reached: never sent",
    "missing_shard": "missing shard: of a shard without a ledger among these",
}
"""What became of a row, by the words of `states`."""

SUSPECTS = {
    "personal": (
        "contains an @, like an e-mail address",
        "contain an @, like e-mail addresses",
        " Elevate's keys must not be personal data. Is this the right column?",
    ),
    "dates": (
        "looks like a date",
        "look like dates",
        " Is this the right column?",
    ),
    "placeholder": (
        "looks like NULL or #N/A, which a failed look-up leaves behind",
        "look like NULL or #N/A, which a failed look-up leaves behind",
        "",
    ),
    "separator": (
        "contains ; or |, which may separate columns",
        "contain ; or |, which may separate columns",
        " If so, use --delimiter.",
    ),
    "not_uuid": (
        "is not a UUID, while most of the others are",
        "are not UUIDs, while most of the others are",
        " Is it from another column?",
    ),
    "numeric_like": (
        'looks like 4,01E+15 or ="0012", so a spreadsheet has probably changed it',
        'look like 4,01E+15 or ="0012", so a spreadsheet has probably changed them',
        "",
    ),
    "look_alike": (
        "differs from another only in upper and lower case or Unicode form",
        "differ from another only in upper and lower case or Unicode form",
        " Elevate treats each as a key of its own.",
    ),
}
"""What is odd about keys, by the words of `survey.warnings`: of one key, of several, and advice."""


# ── numbers ─────────────────────────────────────────────────────────────────────────────────────


def plural(number: int, noun: str) -> str:
    """`row` of one, `rows` of any other number; `retries` of `retry`."""
    if number == 1:
        return noun
    is_ies = noun[-1] == "y" and noun[-2] not in "aeiou"
    return f"{noun[:-1]}ies" if is_ies else f"{noun}s"


def counted(number: int, noun: str) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{number:,} {plural(number, noun)}"


def counts_table(counts: dict[str, int], kind: JobKind) -> str:
    """The counts as aligned lines; what is 0 is left out, the sum stands at the end."""
    rows = counts["rows"]
    width = len(f"{rows:,}")
    lines = [
        f"  {counts[name]:>{width},}  {label}"
        for name, label in labels_of(kind).items()
        if counts[name]
    ]
    return "\n".join([*lines, f"  {rows:>{width},}  {plural(rows, 'row')} in all"])


# ── times ───────────────────────────────────────────────────────────────────────────────────────


def duration(seconds: float) -> str:
    """Seconds as a person says them: `42 s`, `7 min`, `3 h 20 min`, `2 d 4 h`."""
    whole = round(seconds)
    if whole < 1:
        return "less than 1 s"
    if whole < 120:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def calendar_day(when: date) -> str:
    """`24 Dec 2026`."""
    return f"{when.day} {when:%b %Y}"


def moment(when: datetime, now: datetime) -> str:
    """When something may begin: `now`, `tomorrow (25 Nov, from 00:00 UTC)`. Both are UTC."""
    if when <= now:
        return "now"
    on, time = f"{when.day} {when:%b}", f"from {when:%H:%M} UTC"
    word = {0: "today", 1: "tomorrow"}.get((when.date() - now.date()).days)
    return f"{word} ({on}, {time})" if word else f"on {on} ({time})"


def time_in_words(text: str) -> str:
    """`24 Dec 2026, 10:15 UTC` of a time in RFC 3339; what is none stays as it is."""
    try:
        when = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return text
    return f"{calendar_day(when)}, {when:%H:%M} UTC"


def stamped_before(text: str) -> str:
    """What a time stamp says, to the second: an auditor compares it with other clocks."""
    when = datetime.fromisoformat(text) + timedelta(seconds=1, microseconds=-1)  # rounded up
    return f"existed before {calendar_day(when)}, {when:%H:%M:%S} UTC"


def stamp_in_words(stamp: Mapping[str, Any]) -> str:
    """What a time stamp is worth (as `verify --json` has it), of which commit, and its time."""
    line = f"{stamp['state']}: {stamp['why']}" if stamp["why"] else str(stamp["state"])
    if stamp["state"] in ("bad", "missing"):
        return line
    if stamp["commit"]:
        after = counted(stamp["commits_after"], "commit") if stamp["commits_after"] else "nothing"
        line += f"; it is of commit {stamp['commit']:,}, {after} after it"
    if stamp["time"]:
        is_checked = stamp["state"] == "good"
        line += f"; {'' if is_checked else 'says that it '}{stamped_before(stamp['time'])}"
    return line


def target_in_words(target: str) -> str:
    """A target as ledgers name it: the id of a cluster, or an address."""
    return printable(target) if "://" in target else f"cluster {printable(target)}"


def run_ending(outcome: str | None, exit_code: int | None) -> str:
    """How a run ended, by the words of its `run_finished`: `finished, with failures (3)`. None if
    there is no such line."""
    if outcome is None:
        return "broke off, or is under way"
    words = {"incomplete": "not finished", "complete": "finished"}
    failures = ", with failures" if (outcome, exit_code) == ("complete", 3) else ""
    return f"{words.get(outcome, outcome)}{failures} ({exit_code})"


# ── reasons ─────────────────────────────────────────────────────────────────────────────────────


def probed(probes: Probes) -> list[str]:
    """What came of the samples of a ledger, and what may be said of all the others by it."""
    sampled, gone, back = probes.sampled, probes.nothing_left, probes.came_back
    of_all = f"{gone:,} of {sampled:,} sampled people: nothing left."
    if sampled == 1:
        of_all = f"{gone} of 1 sampled person: nothing left."
    # Those who are asked about anew have an answer already, by which they are counted.
    again = gone + back + probes.lost + probes.waiting + probes.not_asked - sampled
    others = [
        f"{count:,} {what}"
        for count, what in (
            (probes.waiting - again, "not answered yet"),
            (again, "asked about again, not answered yet"),
            (probes.not_asked, "not asked about yet"),
            (probes.lost, "without an answer (lost)"),
        )
        if count
    ]
    lines = [of_all + (f" {', '.join(others).capitalize()}." if others else "")]
    if probes.not_asked:
        lines[0] += " The same `probe` command asks about the rest."
    if probes.lost:
        lines[0] += " A lost answer says nothing: use `probe` again."
    if back:
        have = "person has" if back == 1 else "people have"
        lines.append(
            f"{back:,} sampled {have} data again under the same key. Mostly the shopper's cookie "
            "carried the key to a new visit, which is nobody's fault; or the removal has left "
            "something. Ask Voyado and name the jid; a new `run`, with a new ledger, removes it."
        )
        shown = [f"line {it.line:,}, jid {printable(it.jid)}" for it in probes.back[:MOST_NAMED]]
        more = [f"{back - len(shown):,} more (`report --json`)"] if back > len(shown) else []
        lines.append(f"Data came back of: {'; '.join(shown + more)}.")
    elif gone >= probes.population:
        lines.append("Everybody who was erased was asked about.")
    elif gone:
        at_most = min(probes.population, -(-3 * probes.population // gone))
        lines.append(
            f"If the sample is like all others, then with 95 % confidence at most {at_most:,} of "
            f"the {probes.population:,} erased people ({min(1.0, 3 / gone):.1%}) have anything "
            "left (rule of three: 3 divided by those answered)."
        )
    return lines


def row_error(word: str, lines: list[int], count: int) -> str:
    """Why rows were rejected, by the words of `ROW_ERRORS`, and where."""
    return f"{word}: {ROW_ERRORS[word]} ({lines_of(lines, count)})"


def attempt_error(word: str) -> str:
    """What went wrong with an attempt, by the words of `ATTEMPT_ERRORS` or `http_` and a status."""
    return f"{word}: {attempt_meaning(word)}"


def attempt_meaning(word: str) -> str:
    return ATTEMPT_ERRORS.get(word) or f"the service answered {word.removeprefix('http_')}"


_ATTENTION = {
    "refused": "permanently refused earlier; not sent again without --retry-failed",
    "job_failed": "accepted, but the job failed: its last status is error or not_found, or its "
    "result is lost",
    "held_too_late": "on the hold list, but sent by an earlier run; contact Voyado at once",
    "not_exported": "not downloaded by the export that --after-export names; not sent",
    "not_reached": "not reached in this run",
    "job_error": "the job's last status is error",
    "job_not_found": "the job's last status is not_found",
    "job_lost": "the result did not arrive, and cannot be had any more",
    "came_back": "the service has data of a probed person again; ask Voyado",
    "probe_lost": "the answer about a probed person did not arrive; probe again",
    "job_expiring": "done for days and not downloaded: the service removes the result soon",
    "unaccounted": "no outcome in the ledgers",
    "at_risk": "not erased, and the month for an answer ends within a week",
    "overdue": "not erased, and the month for an answer is over",
}
"""What is to be looked at, beside the words for rejected rows and failed attempts."""


def attention_table(items: list[Attention]) -> str:
    """Reasons, how often, and where, as aligned lines."""
    width = max(len(f"{item.count:,}") for item in items)
    return "\n".join(f"  {item.count:>{width},}  {attention_in_words(item)}" for item in items)


def attention_meaning(word: str) -> str:
    """Why something needs attention, by the words of `attention` in any command."""
    of_state = STATE_MEANINGS.get(word, "").partition(": ")[2]
    return _ATTENTION.get(word) or ROW_ERRORS.get(word) or of_state or attempt_meaning(word)


def attention_in_words(item: Attention) -> str:
    """`empty_key: the key is empty or blank (line 3)`."""
    word = item.reason
    meaning = attention_meaning(word)
    where = f" ({lines_of(sorted(item.lines), item.count)})" if item.lines else ""
    return f"{word}: {meaning}{where}"


def suspect(word: str, lines: list[int], count: int) -> str:
    """What is odd about `count` keys, where, and what to think of: all but the number."""
    of_one, of_several, advice = SUSPECTS[word]
    what = of_one if count == 1 else of_several
    return f"{what} ({lines_of(lines, count)}){'.' if advice else ''}{advice}"


def printable(text: str) -> str:
    """`text` without anything that a terminal would act on."""
    return "".join(char if char.isprintable() else "�" for char in text)
