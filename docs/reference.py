"""Write `reference.md` and the man page `bulk-eraser.1` beside this file, from the code.

Run it with `make docs`; `tests/test_house.py` fails when one of the two is stale.
"""

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from inspect import cleandoc
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import click

from bulk_eraser import __version__
from bulk_eraser.cli.app import COMMANDS, app
from bulk_eraser.cli.certificate import CertificateResult
from bulk_eraser.cli.check import CheckResult
from bulk_eraser.cli.dask.result import ShardsResult
from bulk_eraser.cli.fleet.check import FleetCheckResult
from bulk_eraser.cli.fleet.follow import FleetFollowResult
from bulk_eraser.cli.fleet.result import FleetResult
from bulk_eraser.cli.fleet.status import FleetStatusResult
from bulk_eraser.cli.pseudonymize import Converted
from bulk_eraser.cli.seal import SealResult
from bulk_eraser.cli.status import Batch, StatusResult
from bulk_eraser.cli.verify_certificate import CheckedResult
from bulk_eraser.errors import ExitCode
from bulk_eraser.evidence.findings import FINDINGS
from bulk_eraser.evidence.verification import VerifyResult
from bulk_eraser.records import ATTEMPT_ERRORS, ROW_ERRORS
from bulk_eraser.sending.request import (
    ExportFollowResult,
    FollowResult,
    ListedJob,
    ProbeResult,
    RunResult,
)
from bulk_eraser.simulator.faults import FAULT_DESCRIPTIONS
from bulk_eraser.wording import SUSPECTS

HERE = Path(__file__).parent
WIDTH = 100
RESULTS: dict[str, type] = {
    "check": CheckResult,
    "run": RunResult,
    "export": RunResult,
    "follow": FollowResult,
    "probe": ProbeResult,
    "status": StatusResult,
    "verify": VerifyResult,
    "seal": SealResult,
    "pseudonymize": Converted,
    "certificate": CertificateResult,
    "verify-certificate": CheckedResult,
    "fleet check": FleetCheckResult,
    "fleet run": FleetResult,
    "fleet follow": FleetFollowResult,
    "fleet status": FleetStatusResult,
    "fleet verify": FleetResult,
}
"""What each command prints with --json."""
EXIT_CODES = {
    ExitCode.COMPLETE: (
        "`run`: every key of this input has a removal job, which does not yet mean that anybody is "
        "erased. `follow`: every job is done, and no key of the ledger is without one. `verify`: "
        "the ledger is what was written, every row is accounted for, and with `--expect-done` "
        "everybody is erased. `status`: everybody is erased. `report`: it is written, whatever "
        "it says. `export`: every key has an export job; `follow` on its ledger: every result is "
        "downloaded. `probe`: everybody sampled is asked about. `certificate`: it is "
        "written. `verify-certificate`: it is what was issued.",
        "nothing to do",
    ),
    ExitCode.USAGE: (
        "Wrong options, consent missing, the plan does not match, or a hold list was forgotten. "
        "Nothing was sent.",
        "after correction",
    ),
    ExitCode.SOME_ROWS: (
        "Reached the end; some rows failed, are unknown or were rejected, in this run or an "
        "earlier one, some removal jobs failed, or a key came on hold too late. `check`: some rows "
        "are rejected. `verify`: some rows are unaccounted for, not erased although "
        "`--expect-done`, held too late, a time stamp is not good, or something follows the last "
        "commit. `follow`: all jobs are finished, but some in `error` or `not_found`, or some keys "
        "have no job, somebody who was probed came back, or results of exports are lost. "
        "`status`: all is finished, with failures. "
        "`certificate`: that person is not erased, and no job is pending, or came back.",
        "for those rows",
    ),
    ExitCode.INPUT: (
        "The input is unusable, damaged, without a single key, or changed during the run. "
        "Nothing (further) was sent.",
        "after correction",
    ),
    ExitCode.SERVICE_DOWN: (
        "Stopped: the service is down, or more keys failed than `--max-failures` allows.",
        "yes, later",
    ),
    ExitCode.INTERNAL: (
        "Internal error. The ledger was closed properly.",
        "yes, and please report it",
    ),
    ExitCode.LEDGER_WRITE: (
        "The ledger, or the folder for the results of an export, cannot be created or written "
        "(disk full, no permission). Nothing further was sent.",
        "after repair",
    ),
    ExitCode.NOT_FINISHED: (
        "Not finished: another process is using the ledger, `--limit` left keys, or (`follow`, "
        "`status`) jobs are pending. `status`: or keys are not sent. `certificate`: that person's "
        "job is pending.",
        "later",
    ),
    ExitCode.CONTRACT_BROKEN: (
        "Stopped: the service breaks its contract for every key (redirect, HTML, version gone).",
        "after a check",
    ),
    ExitCode.CREDENTIALS: ("Stopped: the API key was refused (401, 403).", "after correction"),
    ExitCode.CONFIGURATION: (
        "Configuration: no API key, plain http to another host, a ledger of another target or "
        "secret (pepper), a bad certificate, `--timestamp`, `--encrypt-to` or a signature without "
        "its extra package, a key file that cannot be used, a folder for results that others can "
        "read.",
        "after correction",
    ),
    ExitCode.LEDGER_DAMAGED: (
        "The ledger fails verification: it was changed after it was written. "
        "`verify-certificate`: so was the certificate, or it is not signed or stamped by whom it "
        "must be.",
        "after `verify` says why, and restoring it from a copy",
    ),
    ExitCode.SIGINT: ("Interrupted by Ctrl-C (SIGINT).", "yes"),
    ExitCode.SIGTERM: ("Interrupted by SIGTERM or SIGHUP.", "yes"),
}
"""What each code means, and whether the same command may be given again."""
ENVIRONMENT = {
    "ELEVATE_API_KEY": "The API key, if no file is named with `--api-key-file`.",
    "BULK_ERASER_PEPPER_FILE": "The file with the secret (pepper) of pseudonyms.",
    "HTTPS_PROXY, NO_PROXY": "The proxy, with `--trust-env` only.",
    "TMPDIR": "Where what is known of the keys is put if it does not fit into memory.",
    "GITHUB_ACTIONS, GITHUB_STEP_SUMMARY": "Set by GitHub Actions: `run`, `follow` and `verify` "
    "append to the step's summary.",
    "JOB_COMPLETION_INDEX, AWS_BATCH_JOB_ARRAY_INDEX, CI_NODE_INDEX, CI_NODE_TOTAL": "Which shard "
    "`--shard auto` is; set by Kubernetes, AWS Batch and GitLab.",
    "NO_COLOR": "If set, nothing is printed in colour.",
}
"""The variables that no option is named after."""
FIELDS = {
    "outcome": "`complete`, `incomplete`, `stopped`, `interrupted`, `refused` or `error`",
    "exit_code": "the code with which the command ends",
    "error": "why it did not get to its end, as it is told to people",
    "next": "the command that does something about it, as a list of arguments; null if none does",
    "attention": "what somebody should look at: of each `reason` the `count` and the first `lines`",
    "counts": "rows by what became of them: `rows` is the sum of the others, but for "
    "`held_too_late`, which is a part of `excluded`",
    "requests": "requests that left, with their repeats",
    "retries": "repeats among them",
    "survey_s": "seconds that reading the input took",
    "elapsed_s": "seconds from the first request to the last commit",
    "ledger": "path of the ledger",
    "head": "digest over the whole ledger, to be kept elsewhere",
    "shard": "with `--shard`: its `index` `of` how many, and its own `rows`, `keys`, `rejected` "
    "and `duplicate`; else null",
    "missing_shards": "shards without a ledger among these, as `index` and `of`",
    "check.counts": "`rows` is the sum of `keys` (different ones), `rejected` and `duplicate`; "
    "`excluded` keys are on the hold list; around the key of `stripped` rows were spaces",
    "input": "name, `bytes`, `sha256`, how it was read, and its numbers of rows",
    "rejected": "word → number of rows, and the first lines",
    "suspects": "word → number of keys, and the first lines",
    "hold_list": "`name`, `sha256`, number of `keys`, and how many are `unknown` to this input",
    "seconds_at_rate": "how long a run will take at least; null without a rate limit",
    "plan": "path of the plan that was written",
    "keys_sha256": "digest of the keys that the plan binds",
    "export.counts": "jobs of an export by their state: `jobs` is the sum of the others",
    "follow.counts": "jobs by their state: `jobs` is the sum of the others",
    "without_job": "keys of the ledger that have no removal job and are not on hold, by state",
    "asked": "questions that were answered in this run",
    "unanswered": "jobs that stay without an answer, and are asked about again",
    "next_check_at": "when the next job is due (UTC)",
    "listed": "how many jobs each of the lists has in all",
    "error_jobs": "jobs that ended in error, the first thousand",
    "not_found_jobs": "jobs that the service does not know, the first thousand",
    "slow_jobs": "pending jobs that are older than usual, the first thousand",
    "at_risk_jobs": "jobs whose month for an answer is over within a week, the first thousand",
    "overdue_jobs": "jobs whose month for an answer is over, the first thousand",
    "status.counts": "what became of everybody, in all ledgers together",
    "status.next_check_at": "when the first of the pending jobs is due (UTC)",
    "deadlines": "those who are to be erased, by their month: erased in time (`kept`) or `late`; "
    "not erased, with more than a week left (`ahead`), with less (`at_risk`), or `overdue`",
    "batches": "the same for each ledger",
    "status.ledger": "path of the ledger",
    "standing": "`all_erased`, `open` (nothing to do but to go on), `needs_attention`, `nobody` "
    "(is to be erased), `rehearsal` or `not_proven`",
    "first_deadline": "the first day by which somebody who is not erased is due an answer",
    "probe.counts": "people: `sampled` of `population`, the erased ones; `asked` have an export "
    "job by now, `failed` could not be asked about, `not_reached` were not",
    "seed": "that of the sample, with which it can be drawn again",
    "probes": "of all samples together: people `sampled`, by answer (`nothing_left`, `came_back`, "
    "`lost`, `waiting`, `not_asked`), the `population`, `seeds`, and the first that came `back`; "
    "null without a probe",
    "kind": "`removal`, or `export`: then nobody is erased",
    "output": "folder of the results",
    "lost_jobs": "jobs whose result did not arrive and cannot be had any more, the first thousand",
    "expiring_jobs": "jobs done for days whose result is not downloaded, the first thousand",
    "line": "line of the row in the input",
    "jid": "the job's id at the service",
    "created_at": "when the job was accepted (UTC)",
    "deadline": "day by which an answer is due",
    "deadline_from": "what the deadline counts from: `row`, `option` (`--received`), or `run` (its "
    "day, for want of another)",
    "ledgers": "of each ledger: `ledger` (path), `head`, `commits`, `lines`, `bytes`, "
    "`tail_bytes` (after the last commit), `damage`, `being_written`, `derived_from`, and its "
    "`runs`",
    "sealed": "for each ledger of a seal: `ledger`, the sealed `head`, which `commit` that is "
    "(null if it is none), and the `commits_after` and `lines_after` it",
    "seal.seal": "path of the seal",
    "shards.seal": "path of the seal; null if it was not written, as after Ctrl-C",
    "shards.head": "digest over the seal, to be kept elsewhere",
    "shards.shards": "of each shard: `index`, `of`, `ledger`, how many `attempts` were begun, and "
    "of the last one its `worker`, `exit_code`, `error`, `outcome`, `counts`, `requests`, "
    "`elapsed_s` and `head`; null where nothing was heard of it",
    "seal.head": "digest over the seal, to be kept elsewhere",
    "seal.ledgers": "what the seal says of each ledger: `ledger`, `head`, `commits`, `lines`, "
    "`bytes`, `shard`, `input_sha256`, and `counts` of its last run with an input",
    "inputs": "each input of these runs once",
    "accepted_twice": "keys with jobs in two of the ledgers",
    "seal.states": "keys of the ledgers by what became of them",
    "expected_heads": "expected head → which commit of which ledger it is; null if it is none",
    "receipts": "for each `--receipt`: `receipt` (its path), its `head` and `run`, and `differs`: "
    "the fields that the ledger says otherwise",
    "timestamp": "path of the file with the time stamp of `head`; null if none was had",
    "timestamps": "for each time stamp: `stamp` (its path), the `head` that it stamps, which "
    "`commit` of which `ledger` that is and the `commits_after` it, `state` (`good`: signed by an "
    "authority of `--timestamp-ca`; `unchecked`; `bad`), `time` (before which the commit existed, "
    "UTC) and `why` it is bad or unchecked",
    "expect_stamps": "was `--timestamp-ca` given, so that all time stamps must be good?",
    "findings": "word → `count`, and the first places as `ledger` and `line`",
    "erased": "how many of `states` are erased; of exports none is",
    "expect_done": "was everybody expected to be erased?",
    "states": "rows of the input by what became of them; without an input, keys of the ledgers",
    "held_too_late": "keys that came on hold when they may have been sent already",
    "other_sheets": "sheets of the input's workbook that were not read",
    "unaccounted": "rows that were not reached or have no outcome in the ledgers",
    "unaccounted_lines": "the first lines of such rows",
    "extra": "keys of the ledgers that the input does not have",
    "extra_lines": "the first places of such keys",
    "rehearsal": "is a ledger that of a rehearsal, in which nothing was erased?",
    "certificate.certificate": "path of the certificate for programs; null if none was asked for",
    "certificate.html": "path of the page; null if none was asked for",
    "certificate.ledger": "path of the ledger",
    "certificate.line": "line of the row in the input; null if nobody was found",
    "certificate.head": "digest over the ledger up to the root, to be kept elsewhere",
    "root": "root of the Merkle tree, in hexadecimal",
    "leaves": "number of erased keys that it stands for, without those who came back",
    "index": "number of this one among them, from 0",
    "new_root": "was a root added to the ledger?",
    "verifier_key": "what others need to verify the signature (signed-note); null without one",
    "certificate.timestamp": "is there a time stamp of the head in it?",
    "verify-certificate.certificate": "path of the certificate",
    "verify-certificate.head": "digest over the ledger up to the root; null if it is refused",
    "is_of_key": "true if it is about the key of `--key-file`; null if that was not asked",
    "statement": "what it says, but for the customer key; null if it is refused",
    "signer": "the name in its signature; null without one",
    "signature": "`good`, `unchecked` without `--signed-by`, or null if there is none",
    "stamp": "its time stamp's `state` (`good` or `unchecked`), `time` and `why`; null without one",
    "clusters": "name of a cluster → the object that the command for a single one prints; its "
    "`next` is null, for there is one for all of them",
    "left_out": "names of the clusters that --only or --except leave out",
    "fleet.counts": "sums of the `counts` (`verify`: of the `states`) of all clusters",
    "fleet.deadlines": "sums of the `deadlines` of all clusters",
    "fleet.next_check_at": "when the next job of any of them is due (UTC)",
    "fleet.plan": "path of the plan that was written for all of them",
    "pseudonymize.ledger": "path of the new ledger",
    "pseudonymize.head": "digest over the whole new ledger, to be kept elsewhere",
    "lines": "lines of the new ledger, with its commits",
}
"""What a field of a --json object is, in all commands or in the one before the dot."""
ABOUT_SHARDS = "With `--shards` it has these as well, and no `ledger`:"
ABOUT_EXPORTS = "On the ledger of an export it has these as well, and other `counts`:"
ABOUT_OPTIONS = (
    "`bulk-eraser --help` and `bulk-eraser COMMAND --help` show the same. An option can also be "
    "given as the environment variable named beside it. The command line takes precedence, and an "
    "empty variable counts as none. A flag's variable is 1 or 0."
)


# ── what the code says of itself ────────────────────────────────────────────────────────────────


def command_of(name: str) -> click.Command:
    """By the words that are typed: `fleet run` is one of the commands of `fleet`."""
    command: click.Command | None = app
    for word in name.split():
        is_group = isinstance(command, click.Group)
        command = command.get_command(click.Context(command), word) if is_group else None
    if command is None:
        raise KeyError(name)
    return command


def names_of_commands() -> Iterator[str]:
    for name in COMMANDS:
        yield name
        if isinstance(command := command_of(name), click.Group):
            yield from (f"{name} {it}" for it in command.list_commands(click.Context(command)))


def usage_of(name: str) -> str:
    command = command_of(name)
    pieces = command.collect_usage_pieces(click.Context(command))
    return f"bulk-eraser {name} {' '.join(pieces)}"


def arguments_of(command: click.Command) -> Iterator[tuple[str, str]]:
    """Name and help text of each argument."""
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            yield parameter.make_metavar(click.Context(command)), parameter.help or ""


def options_of(command: click.Command) -> Iterator[tuple[str, str, str, str]]:
    """Each option with its value, its default, its variable, and its help text without these.

    A default that is a value stands in backquotes; one in words is what happens without the option.
    """
    for option in command.params:
        if isinstance(option, click.Option):
            text = option.help or ""
            default = f"`{option.default}`" if option.show_default else ""
            if found := re.search(r" \[default: (.+)\]$", text):
                text, default = text[: found.start()], found[1]
            written = f"{option.opts[0]} {option.metavar or ''}".strip()
            yield written, default, str(option.envvar or ""), text


def paragraphs_of(text: str) -> list[str]:
    return [" ".join(part.split()) for part in cleandoc(text).split("\n\n")]


def kind_of(annotation: Any) -> str:
    """The JSON that a field of this type becomes."""
    if isinstance(annotation, UnionType):
        return " or ".join(map(kind_of, get_args(annotation)))
    origin = get_origin(annotation) or annotation
    simple = {
        str: "text",
        bool: "true or false",
        int: "whole number",
        float: "number",
        dict: "object",
        type(None): "null",
    }
    if origin is list:
        return f"list of {kind_of(get_args(annotation)[0])}"
    return simple.get(origin, f"`{getattr(origin, '__name__', origin)}`")


def fields_of(result: type, command: str) -> Iterator[tuple[str, str, str]]:
    """Name, type and meaning of each field. Raises `KeyError` for one without a meaning here."""
    hints = get_type_hints(result)
    for each in fields(result):
        name = each.name
        first = command.partition(" ")[0]
        meaning = FIELDS.get(f"{first}.{name}") or FIELDS[name]
        yield f"`{name}`", kind_of(hints[name]), meaning


def words() -> dict[str, tuple[str, Mapping[str, str]]]:
    """Title → what it is about, and the words with their meanings."""
    suspects = {word: f"They {several}.{advice}" for word, (_, several, advice) in SUSPECTS.items()}
    statuses = {"http_503": "the service answered with this status; so for each other status"}
    return {
        "Why a row is rejected": (
            "The words of `rejected` lines of the ledger and of `check`. Nothing is sent for such "
            "a row. Correct it and run again on the same ledger.",
            ROW_ERRORS,
        ),
        "Why an attempt failed": (
            "The words of `error` in `failed`, `unknown` and `lost` lines of the ledger.",
            statuses | ATTEMPT_ERRORS,
        ),
        "What is odd about keys": (
            "The words of `suspects` of `check`, and of warnings of `run`. Such keys are sent, "
            "except that one `numeric_like`, or more than half of the keys `dates`, `personal` or "
            "`placeholder`, refuse the input (65) unless `--allow` names the word. So does a "
            "`separator` in every one of three keys or more.",
            suspects,
        ),
        "What `verify` finds": (
            "The words of `findings`. The chain of the ledger is intact, but its lines do not fit.",
            FINDINGS,
        ),
        "Faults of `simulate`": ("The names that `--fault` takes.", FAULT_DESCRIPTIONS),
    }


# ── as Markdown ─────────────────────────────────────────────────────────────────────────────────


def markdown() -> str:
    """The text of reference.md."""
    lines = [
        "# Reference",
        "",
        "<!-- Written by `make docs` from the code: change it there. -->",
        "",
        *_wrapped(ABOUT_OPTIONS),
        "",
    ]
    for name in names_of_commands():
        lines += _command_markdown(name)
    lines += ["## Environment", "", *_table(("variable", "meaning"), _coded(ENVIRONMENT.items()))]
    lines += ["## Exit codes", ""]
    codes = ((str(int(code)), *meaning) for code, meaning in EXIT_CODES.items())
    lines += _table(("code", "meaning", "the same command again?"), codes)
    for title, (about, meanings) in words().items():
        lines += [f"## {title}", "", *_wrapped(about), ""]
        lines += _table(("word", "meaning"), _coded(meanings.items()))
    return "\n".join(lines).rstrip() + "\n"


def _command_markdown(name: str) -> list[str]:
    command = command_of(name)
    lines = [f"## `{name}`", "", "```", usage_of(name), "```", ""]
    for paragraph in paragraphs_of(command.help or ""):
        lines += [*_wrapped(paragraph), ""]
    if arguments := list(arguments_of(command)):
        lines += _table(("argument", "meaning"), _coded(arguments))
    if isinstance(command, click.Group):
        return lines
    rows = [
        (f"`{written}`", default, variable and f"`{variable}`", text)
        for written, default, variable, text in options_of(command)
    ]
    lines += _table(("option", "default", "variable", "meaning"), rows)
    if name in RESULTS:
        lines += [f"With `--json`, `{name}` prints one object:", ""]
        lines += _table(("field", "type", "meaning"), fields_of(RESULTS[name], name))
    if name == "run":
        lines += [*_wrapped(ABOUT_SHARDS), ""]
        of_all = {each.name for each in fields(RunResult)} - {"head"}
        several = (row for row in fields_of(ShardsResult, "shards") if row[0][1:-1] not in of_all)
        lines += _table(("field", "type", "meaning"), several)
    if name == "follow":
        lines += [*_wrapped(ABOUT_EXPORTS), ""]
        of_both = {each.name for each in fields(FollowResult)} - {"counts"}
        own = (
            row for row in fields_of(ExportFollowResult, "export") if row[0][1:-1] not in of_both
        )
        lines += _table(("field", "type", "meaning"), own)
        lines += ["Each job in its lists is an object:", ""]
        lines += _table(("field", "type", "meaning"), fields_of(ListedJob, name))
    if name == "status":
        lines += ["Each of its batches is an object:", ""]
        lines += _table(("field", "type", "meaning"), fields_of(Batch, name))
    return lines


def _coded(rows: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    return ((f"`{name}`", text) for name, text in rows)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    body = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    return [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *(f"| {r} |" for r in body), ""]


# ── as a man page ───────────────────────────────────────────────────────────────────────────────


def man_page() -> str:
    """The text of bulk-eraser.1, in the macros of man(7)."""
    about, *more = paragraphs_of(app.help or "")
    lines = [
        r".\" Written by `make docs` from the code: change it there.",
        f'.TH BULK-ERASER 1 "" "bulk-eraser {__version__}" "User Commands"',
        ".SH NAME",
        f"bulk-eraser \\- {_roff(about[0].lower() + about[1:].rstrip('.'))}",
        ".SH SYNOPSIS",
    ]
    usages = (_roff(usage_of(name)) for name in names_of_commands())
    lines += ["\n.br\n".join(f"\\fB{usage}\\fR" for usage in usages)]
    lines += [".SH DESCRIPTION", *map(_roff, more), ".PP", _roff(ABOUT_OPTIONS)]
    for name in names_of_commands():
        lines += _command_roff(name)
    lines += [".SH EXIT STATUS"]
    for code, (meaning, again) in EXIT_CODES.items():
        lines += [".TP", f".B {int(code)}", _roff(f"{meaning} The same command again: {again}.")]
    lines += [".SH ENVIRONMENT", *_tagged(ENVIRONMENT)]
    for title, (about, meanings) in words().items():
        lines += [f".SH {_roff(title.upper())}", _roff(about), *_tagged(meanings)]
    return "\n".join(lines) + "\n"


def _command_roff(name: str) -> list[str]:
    command = command_of(name)
    first, *more = paragraphs_of(command.help or "")
    lines = [f".SH {_roff(name).upper()}", _roff(first)]
    for paragraph in more:
        lines += [".PP", _roff(paragraph)]
    lines += _tagged(dict(arguments_of(command)))
    if isinstance(command, click.Group):
        return lines
    for written, default, variable, text in options_of(command):
        facts = [f"default: {default}"] if default else []
        facts += [f"variable: {variable}"] if variable else []
        name, _, metavar = written.partition(" ")
        value = f" \\fI{_roff(metavar)}\\fR" if metavar else ""
        lines += [".TP", f"\\fB{_roff(name)}\\fR{value}"]
        lines += [_roff(f"{text} ({'; '.join(facts)})" if facts else text)]
    return lines


def _tagged(meanings: Mapping[str, str]) -> Iterator[str]:
    for name, meaning in meanings.items():
        yield from (".TP", f".B {_roff(name)}", _roff(meaning))


def _roff(text: str) -> str:
    """`text` as one line that troff takes for text: no escapes, no request."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    (HERE / "reference.md").write_text(markdown())
    (HERE / "bulk-eraser.1").write_text(man_page())
