"""Check a ledger of bulk-eraser with nothing but Python's standard library and docs/ledger.md."""

import hashlib
import json
import re
import sys
from collections import Counter

COMMIT = rb'\{"type":"commit","at":"[^"\\]*","lines":(\d+),"sha256":"([0-9a-f]{64})"\}\n'
head, commits, lines, proven, read, maybe_sent = "0" * 64, 0, 0, 0, 0, 0
group: list[bytes] = []
kinds: set[str] = set()
accepted: Counter[str] = Counter()
for line in open(sys.argv[1], "rb"):  # noqa: SIM115 closed at the end of this short program
    read += len(line)
    if not line.startswith(b'{"type":"commit"'):
        group.append(line)
        continue
    commit = re.fullmatch(COMMIT, line)
    digest = hashlib.sha256(head.encode() + b"".join(group)).hexdigest()
    if commit is None or (int(commit[1]), commit[2].decode()) != (len(group), digest):
        sys.exit(f"changed, or torn by a crash, between line {lines + 1} and its commit")
    try:
        records = [json.loads(line) for line in group]
    except ValueError:
        sys.exit(f"no JSON between line {lines + 1} and its commit")
    for record in records:
        if record["type"] == "run_started":
            kinds.add("exports, which erase nobody" if record.get("export") else "removals")
        if record["type"] == "accepted":
            accepted[record["key"]] += 1
        maybe_sent += {"sent": 1, "unsent": -1}.get(record["type"], 0)
    head, commits, lines, proven, group = digest, commits + 1, lines + len(group) + 1, read, []
if not commits:
    sys.exit("no ledger, or one without a commit: nothing in it is proven")
print(f"intact: {commits:,} commits, {lines:,} lines; head {head}; {read - proven} bytes behind it")
twice = sum(times > 1 for times in accepted.values())
print(f"the jobs of this ledger are {' and '.join(sorted(kinds)) or 'not named'}")
print(f"{len(accepted):,} accepted, {twice:,} of them more than once")
print(f"at most {maybe_sent:,} requests may have left")
