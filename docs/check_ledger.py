"""Check a ledger of bulk-eraser with nothing but Python's standard library and docs/ledger.md."""

import hashlib
import json
import sys
from collections import Counter

head, commits, lines, proven, read = "0" * 64, 0, 0, 0, 0
group: list[bytes] = []
accepted: Counter[str] = Counter()
for line in open(sys.argv[1], "rb"):  # noqa: SIM115 closed at the end of this short program
    read += len(line)
    if not line.startswith(b'{"type":"commit"'):
        group.append(line)
        continue
    commit = json.loads(line)
    digest = hashlib.sha256(head.encode() + b"".join(group)).hexdigest()
    if (commit["sha256"], commit["lines"]) != (digest, len(group)):
        sys.exit(f"changed, or torn by a crash, between line {lines + 1} and its commit")
    records = [json.loads(written) for written in group]
    accepted.update(record["key"] for record in records if record["type"] == "accepted")
    head, commits, lines, proven, group = digest, commits + 1, lines + len(group) + 1, read, []
print(f"intact: {commits:,} commits, {lines:,} lines; head {head}; {read - proven} bytes behind it")
twice = sum(times > 1 for times in accepted.values())
print(f"{len(accepted):,} accepted, {twice:,} of them more than once")
