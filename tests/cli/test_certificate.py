"""Certificates: proof for one person, taken by verifiers that are not ours, refused once a byte is
another, and never given to anybody who is not erased."""

import json
import stat
import subprocess
import sys
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase, digits
from typing import Any

import metamorphic_log
import pytest
from msgspec import structs
from openssl_authority import Authority, Papers, is_there, openssl

from bulk_eraser.cli.certificate import SigningOptions
from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.errors import CertificateRefused, ConfigurationError, UsageError
from bulk_eraser.evidence.certificate.check import check
from bulk_eraser.evidence.certificate.merkle import GrowingTree
from bulk_eraser.evidence.certificate.proof_file import proof_in, text_of
from bulk_eraser.evidence.certificate.signed_note import (
    UNSIGNED,
    checkpoint_text,
    public_key_in,
    signer_of,
)
from bulk_eraser.ledger.chain import commit_group, encode_group
from bulk_eraser.records import LeafSecret
from tests.cli.conftest import ROOT, rechained
from tests.cli.test_pseudonyms import NEW, name_of, pepper_in

LEDGER = "keys.ledger.ndjson"
SIGNER = "example.com/erasures"
DOCS = ROOT / "docs"
ALPHABET = ascii_uppercase + ascii_lowercase + digits + "+/"


# ── what is there to be certified ───────────────────────────────────────────────────────────────


async def erased(desk: Any, service: Any, rows: list[tuple[str, str]], *options: object) -> None:
    """A ledger of these keys and references, all of whose jobs were asked about."""
    text = "customerKey,ticket\n" + "".join(f"{key},{ticket}\n" for key, ticket in rows)
    source = desk.file("keys.csv", text)
    one_by_one = ("--concurrency", 1)  # so that keys are accepted in the order of their lines
    await desk.run(source, service, "--reference-field", "ticket", *one_by_one, *options)
    await desk.call("follow", LEDGER, "--now", "--rate", 0, env=options_env(desk, options))


def options_env(desk: Any, options: tuple[object, ...]) -> dict[str, str] | None:
    return pepper_in(desk) if "--pseudonymize" in options else None


def signing_key(desk: Any) -> tuple[object, ...]:
    """Options that sign with a new key, whose public half is in `signer.pub.pem`."""
    pytest.importorskip("cryptography")
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    path, public = desk.folder / "signer.pem", desk.folder / "signer.pub.pem"
    as_pem = (form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    path.write_bytes(key.private_bytes(*as_pem))
    path.chmod(0o600)
    public.write_bytes(
        key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    )
    return "--signing-key", path, "--signer", SIGNER


async def certify(desk: Any, *options: object, name: str = "c.tlog-proof", **more: Any) -> Any:
    """Ask for a certificate: the one object, with its exit code checked, and the file."""
    path = desk.folder / name
    desk.may_hold_keys.add(path)
    output = ("--html" if name.endswith("html") else "--output", path)
    ended = await desk.call("certificate", LEDGER, *options, *output, "--json", **more)
    found = json.loads(ended.out)
    assert found["exit_code"] == ended.code
    return found, path


async def verified(desk: Any, path: Path, *options: object, **more: Any) -> dict[str, Any]:
    ended = await desk.call("verify-certificate", path, *options, "--json", **more)
    found: dict[str, Any] = json.loads(ended.out)
    assert found["exit_code"] == ended.code
    return found


async def audited(desk: Any, *options: object, ledger: str = LEDGER, **more: Any) -> Any:
    ended = await desk.call("verify", ledger, "--json", *options, **more)
    return json.loads(ended.out)


def plainly(
    path: Path, *more: object, program: str = "check_certificate.py"
) -> subprocess.CompletedProcess[str]:
    """What a program in docs says; it runs without this project's packages."""
    command = [sys.executable, "-I", "-S", "-O", str(DOCS / program), str(path), *map(str, more)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


# ── a verifier that is not ours ─────────────────────────────────────────────────────────────────


class Foreign:
    """A certificate taken apart with nothing but the C2SP specifications."""

    def __init__(self, text: str) -> None:
        proof, self.note = text.split("\n\n", 1)
        first, extra, index, *path = proof.split("\n")
        assert first == "c2sp.org/tlog-proof@v1"
        self.data = json.loads(b64decode(extra.removeprefix("extra ")))
        self.leaf = self.data["leaf"].encode()
        self.index = int(index.removeprefix("index "))
        self.path = [b64decode(line) for line in path]

    def is_good(self, vkey: str) -> bool:
        leaf = sha256(b"\x00" + self.leaf).digest()
        try:
            metamorphic_log.checkpoint_verify_inclusion(
                self.note, [vkey], self.index, leaf, self.path
            )
        except metamorphic_log.VerifyError:
            return False
        return True


def swapped(text: str, place: int) -> str:
    """With another letter in that place."""
    other = "A" if text[place] != "A" else "B"
    return text[:place] + other + text[place + 1 :]


async def test_three_people_have_proof_that_others_can_check(
    desk: Any, service: Any, keys: list[str]
):
    """Signed certificates of three people: good for another's verifier, for the program in docs and
    for ours, each with the statement of its own person and of nobody else; one root for all."""
    await erased(desk, service, [(key, f"T-{n}") for n, key in enumerate(keys[:21])])
    sign = signing_key(desk)
    vkeys, lines_before = set(), len(desk.ledger().lines)
    (desk.folder / "key").write_text(keys[20] + "\n")
    desk.may_hold_keys.add(desk.folder / "key")
    asked = {0: ("--line", 2), 7: ("--reference", "T-7"), 20: ("--key-file", desk.folder / "key")}
    for number, who in asked.items():
        found, path = await certify(desk, *who, *sign, name=f"{number}.tlog-proof")
        assert (found["exit_code"], found["new_root"]) == (0, number == 0)
        assert (found["line"], found["index"], found["leaves"]) == (number + 2, number, 21)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        text = path.read_text()
        foreign = Foreign(text)
        assert foreign.is_good(found["verifier_key"])
        vkeys.add(found["verifier_key"])
        ledger = desk.ledger()
        (accepted,) = (line for line in ledger.of("accepted") if line["key"] == keys[number])
        (done,) = (line for line in ledger.of("job_status") if line["key"] == keys[number])
        (sent,) = (line for line in ledger.of("sent") if line["key"] == keys[number])
        statement = json.loads(foreign.leaf)
        assert len(bytes.fromhex(statement.pop("random"))) == 16
        assert statement == {
            "statement": "erased",
            "key": keys[number],
            "keys": "raw",
            "line": number + 2,
            "target": service.origin,
            "reference": f"T-{number}",
            "sent_at": sent["at"],
            "accepted_at": accepted["at"],
            "jid": accepted["jid"],
            "done_at": done["at"],
        }
        everything = text + foreign.leaf.decode() + json.dumps(foreign.data)
        others = [key for key in keys[:21] if key != keys[number]]
        jids = [line["jid"] for line in ledger.of("accepted") if line["key"] in others]
        assert not any(other in everything for other in (*others, *jids))
        said = await verified(desk, path, "--signed-by", desk.folder / "signer.pub.pem")
        assert (said["exit_code"], said["signature"], said["signer"]) == (0, "good", SIGNER)
        assert said["head"] == found["head"] == ledger.head
        assert "key" not in said["statement"]
        plain = plainly(path, desk.folder / "signer.pub.pem")
        assert (plain.returncode, plain.stderr) == (0, "")
        assert f"key: {keys[number]}" in plain.stdout
        assert f"{found['head']}; signature good" in plain.stdout
    assert len(vkeys) == 1
    # Two lines more, the root and its secret, and the ledger is in order with them.
    added = desk.ledger().lines[lines_before:]
    assert [line["type"] for line in added] == ["leaf_secret", "root"]
    assert added[0]["secret"] not in text + foreign.leaf.decode() + json.dumps(foreign.data)
    assert (await audited(desk, "--expect-head", found["head"]))["exit_code"] == 0


async def test_a_single_byte_that_is_another_is_noticed(desk: Any, service: Any, keys: list[str]):
    """Anywhere in a signed certificate: it is refused. Where what the specifications know of is
    changed, another's verifier refuses it as well."""
    await erased(desk, service, [(key, "") for key in keys[:6]])
    found, path = await certify(desk, "--line", 4, *signing_key(desk))
    good = path.read_bytes()
    key = public_key_in(str(desk.folder / "signer.pub.pem"))
    assert check(proof_in(good), key).is_signature_good
    other = structs.replace(proof_in(good), root_line=proof_in(good).root_line.replace(b"T", b"U"))
    with pytest.raises(CertificateRefused, match="another head"):  # also if nobody asks who signed
        check(other)
    refused = 0
    for place in range(len(good)):
        for bit in (1, 0x20):
            changed = bytearray(good)
            changed[place] ^= bit
            with pytest.raises(CertificateRefused):
                check(proof_in(bytes(changed)), key)
            refused += 1
    for shorter in range(len(good)):
        with pytest.raises(CertificateRefused):
            check(proof_in(good[:shorter]), key)
    assert refused == 2 * len(good)
    for name, change in {
        "leaf": lambda it: setattr(it, "leaf", it.leaf.replace(b"erased", b"Erased")),
        "index": lambda it: setattr(it, "index", it.index ^ 1),
        "path": lambda it: setattr(it, "path", [it.path[0][::-1], *it.path[1:]]),
        "size": lambda it: setattr(it, "note", it.note.replace("\n6\n", "\n7\n")),
        "origin": lambda it: setattr(it, "note", "X" + it.note),
        "signature": lambda it: setattr(it, "note", swapped(it.note, -20)),
    }.items():
        foreign = Foreign(good.decode())
        assert foreign.is_good(found["verifier_key"])
        change(foreign)
        assert not foreign.is_good(found["verifier_key"]), name


async def test_the_commands_say_so(desk: Any, service: Any, keys: list[str]):
    """`verify-certificate` ends with 79, the program in docs with 1, both without a traceback."""
    await erased(desk, service, [(key, "") for key in keys[:3]])
    _, path = await certify(desk, "--line", 2, *signing_key(desk))
    good, public = path.read_bytes(), desk.folder / "signer.pub.pem"
    for place in (0, 25, 400, -230, -150, -20):
        changed = bytearray(good)
        changed[place] ^= 1
        path.write_bytes(changed)
        said = await verified(desk, path, "--signed-by", public)
        assert (said["exit_code"], said["outcome"], said["statement"]) == (79, "refused", None)
        assert said["error"]
        plain = plainly(path, public)
        assert (plain.returncode, plain.stdout) == (1, "")
        assert plain.stderr.startswith("no certificate")


# ── who vouches ─────────────────────────────────────────────────────────────────────────────────


async def test_a_head_vouches_for_its_own_root_alone(desk: Any, service: Any, keys: list[str]):
    """A ledger's line that leads to a head somebody kept, and a tree of one's own beside it, in
    which the statement is another: refused."""
    await erased(desk, service, [(key, "") for key in keys[:3]])
    _, path = await certify(desk, "--line", 2)
    proof = proof_in(path.read_bytes())
    leaf = proof.leaf.replace(keys[0].encode(), keys[9].encode())
    tree = GrowingTree()
    tree.add(leaf)
    head = check(proof).head
    for leaves in (1, 3):
        text = checkpoint_text(UNSIGNED, head, 1, tree.root())
        line = proof.root_line.replace(b'"leaves":3', b'"leaves":%d' % leaves)
        own = structs.replace(proof, leaf=leaf, root_line=line, index=0, path=(), checkpoint=text)
        path.write_text(text_of(own))
        assert (await verified(desk, path))["exit_code"] == 79
        assert plainly(path).returncode == 1


async def test_a_byte_of_an_unsigned_one_is_noticed_as_well(
    desk: Any, service: Any, keys: list[str]
):
    """All of it hangs together: another byte is another head, or none."""
    await erased(desk, service, [(key, "") for key in keys[:3]])
    _, path = await certify(desk, "--line", 3)
    good = path.read_bytes()
    head = check(proof_in(good)).head
    for place in range(len(good)):
        changed = bytearray(good)
        changed[place] ^= 1
        try:
            said = check(proof_in(bytes(changed)))
        except CertificateRefused:
            continue
        pytest.fail(f"byte {place} makes it {said.head} for {head}")
    # Base64 in which bits are set that stand for nothing.
    lines = good.decode().split("\n")
    for number, line in enumerate(lines):
        if line.endswith("=") and "==" not in line:
            loose = f"{line[:-2]}{ALPHABET[ALPHABET.index(line[-2]) + 1]}="
            assert b64decode(loose.split(" ")[-1]) == b64decode(line.split(" ")[-1])
            with pytest.raises(CertificateRefused):
                proof_in("\n".join([*lines[:number], loose, *lines[number + 1 :]]).encode())


async def test_without_a_signature_it_says_so(desk: Any, service: Any, keys: list[str]):
    """It is checked as far as it goes, and not taken for signed."""
    await erased(desk, service, [(key, "") for key in keys[:3]])
    _, path = await certify(desk, "--line", 2)
    said = await verified(desk, path)
    assert (said["exit_code"], said["signer"], said["signature"]) == (0, None, None)
    ended = await desk.call("verify-certificate", path)
    assert "Not signed: anybody could have made it" in ended.err
    assert plainly(path).stdout.rstrip().endswith("signature not looked at")
    signing_key(desk)
    public = desk.folder / "signer.pub.pem"
    assert (await verified(desk, path, "--signed-by", public))["exit_code"] == 79
    assert plainly(path, public).returncode == 1


async def test_another_key_is_another_signer(desk: Any, service: Any, keys: list[str]):
    """Signed by somebody else is not signed."""
    await erased(desk, service, [(key, "") for key in keys[:3]])
    found, path = await certify(desk, "--line", 2, *signing_key(desk))
    mine = found["verifier_key"]
    signing_key(desk)  # takes the place of the first one
    public = desk.folder / "signer.pub.pem"
    said = await verified(desk, path, "--signed-by", public)
    assert (said["exit_code"], "key of --signed-by" in said["error"]) == (79, True)
    assert plainly(path, public).returncode == 1
    again, path = await certify(desk, "--line", 2, *signing_key(desk))
    foreign = Foreign(path.read_text())
    assert foreign.is_good(again["verifier_key"])
    assert not foreign.is_good(mine)


async def test_a_certificate_names_its_key(desk: Any, service: Any, keys: list[str]):
    """--key-file says whether it is about that key: 79 if not."""
    await erased(desk, service, [(key, "") for key in keys[:3]])
    _, path = await certify(desk, "--line", 3)
    mine, other = desk.file("mine", f" {keys[1]}\n"), desk.file("other", keys[2])
    said = await verified(desk, path, "--key-file", mine)
    assert (said["exit_code"], said["is_of_key"]) == (0, True)
    said = await verified(desk, path, "--key-file", other)
    assert (said["exit_code"], "another customer key" in said["error"]) == (79, True)


async def test_the_signer_is_who_has_signed(desk: Any, service: Any, keys: list[str]):
    """Signatures of others may stand there as well, as notes allow; the name that is told is the
    one that stands in what was signed."""
    await erased(desk, service, [(key, "") for key in keys[:3]])
    found, path = await certify(desk, "--line", 2, *signing_key(desk))
    text, public = path.read_text(), desk.folder / "signer.pub.pem"
    checkpoint, line = text.rsplit("\n\n", 1)
    others = line.replace(SIGNER, "somebody.example")
    path.write_text(f"{checkpoint}\n\n{others}{line}")
    said = await verified(desk, path, "--signed-by", public)
    assert (said["exit_code"], said["signer"]) == (0, SIGNER)
    assert Foreign(path.read_text()).is_good(found["verifier_key"])
    path.write_text(f"{checkpoint}\n\n{others}")
    said = await verified(desk, path, "--signed-by", public)
    assert (said["exit_code"], "not signed" in said["error"]) == (79, True)
    assert (await verified(desk, path))["signer"] is None
    assert plainly(path, public).returncode == 1


@pytest.fixture(scope="session")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    if not is_there():
        pytest.skip("the openssl command is not installed")
    return Papers(tmp_path_factory.mktemp("authority") / "papers")


@pytest.fixture
async def authority(papers: Papers) -> AsyncIterator[Authority]:
    authority = Authority(papers)
    await authority.start()
    yield authority
    await authority.stop()


async def test_a_time_stamp_travels_with_it(
    desk: Any, service: Any, keys: list[str], authority: Authority, papers: Papers
):
    """It is one of the head that the certificate leads to, so openssl checks it as well; asked for
    once, and taken from beside the ledger from then on."""
    await erased(desk, service, [(key, "") for key in keys[:3]])
    found, path = await certify(desk, "--line", 2, "--timestamp", authority.url)
    assert (found["exit_code"], found["timestamp"]) == (0, True)
    stamp = b64decode(Foreign(path.read_text()).data["stamp"])
    assert papers.says(stamp, found["head"])
    ca = ("--timestamp-ca", papers.root)
    said = await verified(desk, path, *ca)
    assert (said["exit_code"], said["stamp"]["state"]) == (0, "good")
    assert (await verified(desk, path))["stamp"]["state"] == "unchecked"
    again, second = await certify(desk, "--line", 3, "--timestamp", authority.url, name="2.proof")
    assert (again["timestamp"], again["head"], len(authority.asked)) == (True, found["head"], 1)
    assert (await verified(desk, second, *ca))["exit_code"] == 0
    assert (await audited(desk, *ca))["timestamps"][0]["state"] == "good"
    # One without, one that was changed, one of another head.
    (beside,) = desk.folder.glob("*.tsr")
    kept = beside.read_bytes()
    beside.unlink()
    _, bare = await certify(desk, "--line", 2, name="bare.proof")
    assert (await verified(desk, bare, *ca))["exit_code"] == 79
    beside.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    _, changed = await certify(desk, "--line", 2, name="changed.proof")
    said = await verified(desk, changed, *ca)
    assert (said["exit_code"], "time stamp is not good" in said["error"]) == (79, True)
    beside.write_bytes(
        papers.reply(authority.asked[0][2].replace(bytes.fromhex(found["head"]), b"h" * 32))
    )
    left_out, _ = await certify(desk, "--line", 2, name="other.proof")
    assert (left_out["exit_code"], left_out["timestamp"]) == (0, False)


# ── what is not so is not certified ─────────────────────────────────────────────────────────────


async def test_nobody_is_certified_who_is_not_erased(desk: Any, service: Any, keys: list[str]):
    """Pending is 75, whatever else went wrong 3, each with its state and what to do; nothing is
    written, and what a tree has of the others is nothing to them."""
    pending, lost, refused, unknown, done = keys[:5]
    service.answer = lambda call: {refused: 400, unknown: service.HANG_UP}.get(call.key)
    words = {pending: "running", lost: "error"}

    def status(jid: str) -> str:
        (key,) = (key for key, jids in service.jids.items() if jid in jids)
        return words.get(key, "done")

    service.status = status
    rows = [(key, f"T-{n}") for n, key in enumerate(keys[:5])]
    await erased(desk, service, [*rows, ("", "none"), (done, "twice")], "--max-attempts", 1)
    before = desk.everything()
    for n, (code, word, advice) in enumerate(
        [
            (75, "in_progress", "Ask once a day"),
            (3, "job_failed", "Create new jobs"),
            (3, "refused", "Look at these keys"),
            (3, "unknown", "may or may not have arrived"),
        ]
    ):
        found, path = await certify(desk, "--reference", f"T-{n}")
        assert (found["exit_code"], found["outcome"]) == (code, "incomplete")
        assert found["attention"] == [{"reason": word, "count": 1, "lines": [n + 2]}]
        assert advice in found["error"]
        assert (found["next"] is not None) == (code == 75)
        assert not path.exists()
    assert desk.everything() == before
    found, _ = await certify(desk, "--line", 7)
    assert (found["exit_code"], "no usable key (empty_key)" in found["error"]) == (2, True)
    for who in (("--line", 99), ("--reference", "T-99"), ("--key-file", desk.file("k", keys[9]))):
        found, _ = await certify(desk, *who)
        assert (found["exit_code"], "does not name" in found["error"]) == (2, True)
    assert desk.everything().keys() - {desk.folder / "k"} == before.keys()
    # The only one who is erased; also by the line of the duplicate.
    for who in (("--line", 6), ("--line", 8), ("--reference", "twice")):
        found, path = await certify(desk, *who)
        assert (found["exit_code"], found["leaves"]) == (0, 1)
        assert json.loads(Foreign(path.read_text()).leaf)["key"] == done


async def test_a_later_status_takes_it_back(desk: Any, service: Any, keys: list[str]):
    """A job that was done and is reported as failed later is not certified any more, and the root
    that stands for then is still right."""
    await erased(desk, service, [(key, "") for key in keys[:3]])
    found, path = await certify(desk, "--line", 2)
    assert found["exit_code"] == 0
    ledger = desk.ledger()
    (done,) = (line for line in ledger.of("job_status") if line["key"] == keys[0])
    line = json.dumps(done | {"status": "error"}, separators=(",", ":")).encode() + b"\n"
    group, _ = commit_group(ledger.head, line, done["at"])
    with (desk.folder / LEDGER).open("ab") as file:
        file.write(group)
    assert (await certify(desk, "--line", 2, name="2.proof"))[0]["exit_code"] == 3
    assert (await certify(desk, "--line", 3, name="3.proof"))[0]["leaves"] == 2
    assert (await audited(desk))["findings"] == {}
    assert (await verified(desk, path))["exit_code"] == 0


async def test_a_jid_of_two_keys_is_no_proof(desk: Any, service: Any, keys: list[str]):
    """Elevate made one job for both, so one of them may not be erased."""
    await erased(desk, service, [(key, "") for key in keys[:3]])
    path, jid = desk.folder / LEDGER, desk.ledger().of("accepted")[0]["jid"]
    two = {line["jid"] for line in desk.ledger().of("accepted") if line["key"] in keys[:2]}

    def shared(line: dict[str, Any]) -> dict[str, Any]:
        return line | {"jid": jid} if line.get("jid") in two else line

    path.write_bytes(rechained(path.read_bytes(), shared))
    for line in (2, 3):
        found, _ = await certify(desk, "--line", line)
        assert (found["exit_code"], "another key as well" in found["error"]) == (3, True)
    found, _ = await certify(desk, "--line", 4)
    assert found["exit_code"] == 0


async def test_several_keys_have_to_be_told_apart(desk: Any, service: Any, keys: list[str]):
    """A reference with two keys, and a line that two inputs have: 2, and how to name one."""
    await erased(desk, service, [(keys[0], "T"), (keys[1], "T")])
    found, _ = await certify(desk, "--reference", "T")
    assert (found["exit_code"], "(lines 2 and 3)" in found["error"]) == (2, True)
    other = desk.csv([keys[5]], "other.csv")
    await desk.run(other, service, "--ledger", LEDGER, "--same-batch")
    found, _ = await certify(desk, "--line", 2)
    assert (found["exit_code"], "with --key-file" in found["error"]) == (2, True)


async def test_what_cannot_be_used_is_refused_before_anything_is_written(
    desk: Any, service: Any, keys: list[str]
):
    """Nobody or two people named, no place for the file, another's file, a rehearsal, a torn end,
    no ledger."""
    await erased(desk, service, [(key, "") for key in keys[:3]])
    desk.file("precious", "mine")
    before = desk.everything()
    for options in (
        ("--output", "c"),
        ("--line", 2, "--reference", "T", "--output", "c"),
        ("--line", 2),
        ("--line", 2, "--output", "precious"),
        ("--line", 2, "--html", "precious"),
        ("--line", 2, "--output", "c", "--html", "c"),
        ("--line", 2, "--output", "nowhere/c"),
        ("--line", 2, "--output", "c", "--signer", "me"),
        ("--key-file", "keys.csv", "--output", "c"),
    ):
        ended = await desk.call("certificate", LEDGER, *options)
        assert (ended.code, ended.out) == (2, ""), options
    ended = await desk.call("certificate", "none", "--line", 2, "--output", "c")
    assert (ended.code, "There is no ledger" in ended.err) == (2, True)
    ended = await desk.call("verify-certificate", "none")
    assert (ended.code, "cannot be read" in ended.err) == (2, True)
    assert (await desk.call("verify-certificate", "precious")).code == 79
    assert (await desk.call("verify-certificate", LEDGER)).code == 79
    assert desk.everything() == before
    torn = desk.folder / LEDGER
    torn.write_bytes(torn.read_bytes() + b'{"type":"sent"}\n')
    found, _ = await certify(desk, "--line", 2)
    assert (found["exit_code"], "lines behind its last commit" in found["error"]) == (2, True)
    await desk.call("run", "keys.csv", "--rehearse", "--yes", "--rate", 0)
    ended = await desk.call(
        "certificate", "keys.rehearsal.ndjson", "--line", 2, "--output", "c", "--json"
    )
    assert (ended.code, "nothing was erased" in json.loads(ended.out)["error"]) == (2, True)


# ── the root in the ledger ──────────────────────────────────────────────────────────────────────


async def test_a_root_stands_for_what_was_known(desk: Any, service: Any, keys: list[str]):
    """Later answers make a new root; both are right, both certificates stay good, and run, follow,
    report and the check in docs go on as if no root was there."""
    service.status = lambda jid: "done" if jid in service.jids[keys[0]] else "running"
    await erased(desk, service, [(key, f"T-{n}") for n, key in enumerate(keys[:5])])
    first, early = await certify(desk, "--line", 2, name="early.proof")
    assert (first["leaves"], first["new_root"]) == (1, True)
    assert (await certify(desk, "--line", 3))[0]["exit_code"] == 75
    service.status = lambda jid: "done"
    assert (await desk.call("follow", LEDGER, "--now", "--rate", 0)).code == 0
    second, late = await certify(desk, "--line", 3, name="late.proof")
    assert (second["leaves"], second["new_root"], second["index"]) == (5, True, 1)
    for path in (early, late):
        assert (await verified(desk, path))["exit_code"] == 0
    again = await desk.run("keys.csv", service, "--reference-field", "ticket")
    assert (again.code, again.json["counts"]["already_settled"]) == (0, 5)
    third, _ = await certify(desk, "--line", 4)
    assert (third["head"], third["new_root"]) == (second["head"], False)
    heads = ("--expect-head", first["head"], "--expect-head", second["head"])
    found = await audited(desk, *heads, "--input", "keys.csv", "--expect-done")
    assert (found["exit_code"], found["findings"], found["erased"]) == (0, {}, 5)
    assert (await desk.call("report", LEDGER)).code == 0
    assert (await desk.call("status", LEDGER)).code == 0
    plain = plainly(desk.folder / LEDGER, program="check_ledger.py")
    assert (plain.returncode, "5 accepted, 0 of them more than once" in plain.stdout) == (0, True)


WRONG_ROOTS: dict[str, tuple[str, dict[str, Any]]] = {
    "another root": ("root", {"root": "0" * 64}),
    "another number": ("root", {"leaves": 6}),
    "another head before": ("root", {"covers": "0" * 64}),
    "another secret": ("leaf_secret", {"secret": "0" * 64}),
    "no secret": ("leaf_secret", {"type": "a_type_of_later"}),
    "a secret that is none": ("leaf_secret", {"secret": "no"}),
    "jobs that are not done": ("job_status", {"status": "error"}),
}


def forged(content: bytes, kind: str, fields: dict[str, Any]) -> bytes:
    """As `rechained`; a root names the head before it as it is now, unless that is changed."""
    head, group, written = "0" * 64, b"", b""
    for raw in content.splitlines():
        line = json.loads(raw)
        if line["type"] == "root":
            line["covers"] = head
        if line["type"] == kind:
            line |= fields
        if line["type"] == "commit":
            head = line["sha256"] = sha256(head.encode() + group).hexdigest()
        encoded = json.dumps(line, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        group = b"" if line["type"] == "commit" else group + encoded
        written += encoded
    return written


async def test_a_wrong_root_is_found(desk: Any, service: Any, keys: list[str]):
    """By `verify`, whoever made the digests anew; and no certificate comes out of it."""
    await erased(desk, service, [(key, "") for key in keys[:5]])
    await certify(desk, "--line", 2)
    path = desk.folder / LEDGER
    right = path.read_bytes()
    (place,) = (n for n, line in enumerate(right.split(b"\n"), 1) if line[:14] == b'{"type":"root"')
    path.write_bytes(forged(right, "excluded", {}))
    assert (path.read_bytes(), (await audited(desk))["exit_code"]) == (right, 0)
    for change, (kind, fields) in WRONG_ROOTS.items():
        path.write_bytes(forged(right, kind, fields))
        found = await audited(desk)
        assert (found["exit_code"], list(found["findings"])) == (79, ["wrong_root"]), change
        assert found["findings"]["wrong_root"]["lines"] == [{"ledger": LEDGER, "line": place}]
        if "secret" in change or kind == "root":
            found, _ = await certify(desk, "--line", 3, name="2.proof")
            is_no_root = kind == "leaf_secret" and change != "another secret"
            assert (found["exit_code"], found["new_root"]) == (0 if is_no_root else 79, is_no_root)


async def test_a_crash_between_secret_and_root_does_no_harm(
    desk: Any, service: Any, keys: list[str]
):
    """What it leaves is a secret for nothing; the next certificate makes both anew."""
    await erased(desk, service, [(key, "") for key in keys[:3]])
    path = desk.folder / LEDGER
    group, _ = encode_group(
        desk.ledger().head, [LeafSecret(secret="ab" * 32)], "2030-01-02T03:04:05.000Z"
    )
    path.write_bytes(path.read_bytes() + group)
    found, _ = await certify(desk, "--line", 2)
    assert (found["exit_code"], found["new_root"]) == (0, True)
    assert [line["type"] for line in desk.ledger().lines[-3:]] == [
        *("leaf_secret", "leaf_secret"),
        "root",
    ]
    assert (await audited(desk))["exit_code"] == 0


async def test_a_full_disk_is_told(desk: Any, service: Any, keys: list[str]):
    """74, no certificate, and a ledger that the next command takes up."""
    await erased(desk, service, [(key, "") for key in keys[:3]])
    size = desk.ledger_size()
    found, path = await certify(desk, "--line", 2, file_size_limit=size + 100)
    assert (found["exit_code"], path.exists()) == (74, False)
    ended = await desk.run("keys.csv", service, "--reference-field", "ticket")
    assert ended.code == 0
    with suppress(FileNotFoundError):
        path.unlink()
    found, _ = await certify(desk, "--line", 2)
    assert (found["exit_code"], (await audited(desk))["exit_code"]) == (0, 0)


# ── pseudonyms ──────────────────────────────────────────────────────────────────────────────────


async def test_a_pseudonym_is_certified_and_matched_with_the_pepper(
    desk: Any, service: Any, keys: list[str]
):
    """--key-file finds its pseudonym; the certificate holds that, and not the key."""
    pepper = pepper_in(desk)
    source = desk.csv(keys[:4])
    await desk.run(source, service, "--pseudonymize", env=pepper)
    await desk.call("follow", LEDGER, "--now", "--rate", 0, env=pepper)
    key = desk.file("key", keys[2])
    found, path = await certify(desk, "--key-file", key, env=pepper)
    assert (found["exit_code"], found["line"]) == (0, 4)
    statement = json.loads(Foreign(path.read_text()).leaf)
    assert (statement["key"], statement["keys"]) == (name_of(keys[2]), "hmac-sha256")
    assert keys[2] not in path.read_text() + json.dumps(statement)
    said = await verified(desk, path, "--key-file", key, env=pepper)
    assert (said["exit_code"], said["is_of_key"]) == (0, True)
    assert (await verified(desk, path, "--key-file", key))["exit_code"] == 78
    other = pepper_in(desk, b"another pepper of many bytes", "other")
    found, _ = await certify(desk, "--key-file", key, env=other)
    assert (found["exit_code"], "not the one" in found["error"]) == (78, True)
    assert (await certify(desk, "--key-file", key))[0]["exit_code"] == 78
    assert (await verified(desk, path, "--key-file", key, env=other))["exit_code"] == 79


async def test_a_copy_with_pseudonyms_has_no_root_over_keys(
    desk: Any, service: Any, keys: list[str]
):
    """With root and secret in it, whoever tries keys would find out the only one; so it has
    neither, and gets a root of its own."""
    await erased(desk, service, [(keys[0], "T")])
    await certify(desk, "--line", 2)
    ended = await desk.call("pseudonymize", LEDGER, env=pepper_in(desk))
    assert ended.code == 0
    copy = desk.ledger(NEW)
    assert not copy.of("root") + copy.of("leaf_secret")
    assert (await audited(desk, ledger=NEW))["exit_code"] == 0
    path = desk.folder / "copy.proof"
    ended = await desk.call("certificate", NEW, "--line", 2, "--output", path)
    assert ended.code == 0
    assert json.loads(Foreign(path.read_text()).leaf)["key"] == name_of(keys[0])
    assert (await audited(desk, ledger=NEW))["exit_code"] == 0


# ── the page ────────────────────────────────────────────────────────────────────────────────────


async def test_the_page_holds_the_proof(desk: Any, service: Any, keys: list[str]):
    """It is checked like the file, whatever else stands in it; a letter of the proof is noticed."""
    hostile = "</pre><script>alert(1)</script><pre id=proof> é {{7*7}}"
    await erased(desk, service, [(key, f'"{hostile}"') for key in keys[:3]])
    sign = signing_key(desk)
    _, path = await certify(desk, "--line", 3, *sign, name="c.html")
    text = path.read_text()
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert keys[1] in text
    assert not any(key in text for key in (keys[0], keys[2]))
    public = desk.folder / "signer.pub.pem"
    said = await verified(desk, path, "--signed-by", public)
    assert (said["exit_code"], said["statement"]["reference"]) == (0, hostile)
    assert plainly(path, public).returncode == 0
    path.write_text(text.replace("index 1\n", "index 2\n"))
    assert (await verified(desk, path, "--signed-by", public))["exit_code"] == 79
    assert plainly(path, public).returncode == 1
    # The page takes the place of an older one, and of no proof.
    assert (await certify(desk, "--line", 3, name="c.html"))[0]["exit_code"] == 0
    ended = await desk.call("certificate", LEDGER, "--line", 3, "--output", path)
    assert (ended.code, "already exists" in ended.err) == (2, True)


# ── keys that sign ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["", "two words", "a+b", "tab\t", "\u2003"])
def test_a_signer_has_a_name_that_notes_can_hold(name: str):
    with pytest.raises(UsageError, match="--signer"):
        signer_of(name, b"", "key")


@pytest.mark.skipif(not is_there(), reason="the openssl command is not installed")
def test_only_an_ed25519_key_signs(tmp_path: Path):
    """Another kind, a public key, one with a password, no key: 78, with what to do."""
    for kind, words in {
        "rsa": ("genpkey", "-algorithm", "rsa", "-out", "rsa"),
        "good": ("genpkey", "-algorithm", "ed25519", "-out", "good"),
        "public": ("pkey", "-in", "good", "-pubout", "-out", "public"),
        "locked": ("pkey", "-in", "good", "-aes256", "-passout", "pass:x", "-out", "locked"),
    }.items():
        assert openssl(tmp_path, *words).returncode == 0
        pem = (tmp_path / kind).read_bytes()
        if kind == "good":
            assert signer_of(SIGNER, pem, kind).verifier_key.startswith(f"{SIGNER}+")
            continue
        with pytest.raises(ConfigurationError, match="openssl genpkey -algorithm ed25519"):
            signer_of(SIGNER, pem, kind)
    with pytest.raises(ConfigurationError, match="openssl pkey -pubout"):
        public_key_in(str(tmp_path / "good"))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        public_key_in(str(tmp_path / "none"))


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ConfigurationError, match=r"bulk-eraser\[certificate\]"):
        signer_of(SIGNER, b"", "key")
    with pytest.raises(ConfigurationError, match=r"bulk-eraser\[certificate\]"):
        public_key_in("key")


def test_a_key_without_a_name_does_not_sign(tmp_path: Path):
    with pytest.raises(UsageError, match="needs --signer"):
        SigningOptions(signing_key=str(tmp_path / "key")).key(Output())
