"""Check a certificate of erasure with Python's standard library and docs/certificate.md alone.

check_certificate.py FILE [PUBLIC_KEY.pem]   The signature is checked by the openssl command.
"""

import html
import json
import subprocess
import sys
import tempfile
from base64 import b64decode, b64encode
from hashlib import sha256
from pathlib import Path


def must(holds: object) -> None:
    if not holds:
        sys.exit("no certificate, or changed after it was issued, or not signed with that key")


def decoded(text: str) -> bytes:
    content = b64decode(text, validate=True)
    must(b64encode(content).decode() == text)
    return content


def must_be_signed(text: str, line: str, public_key: str) -> None:
    mark, name, signature = line.split(" ")
    raw = b64decode("".join(Path(public_key).read_text().split("\n")[1:-2]))[-32:]
    key_id = sha256(name.encode() + b"\n\x01" + raw).digest()[:4]
    must(mark == "—" and decoded(signature)[:4] == key_id and text.startswith(f"{name}/"))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "note").write_text(text)
        Path(folder, "signature").write_bytes(decoded(signature)[4:])
        command = (
            f"openssl pkeyutl -verify -rawin -pubin -in {folder}/note -sigfile {folder}/signature"
        )
        ended = subprocess.run([*command.split(), "-inkey", public_key], capture_output=True)  # noqa: S603
    must(ended.returncode == 0)


try:
    text = Path(sys.argv[1]).read_bytes().decode()
    if '<pre id="proof">' in text:
        text = html.unescape(text.split('<pre id="proof">')[1].split("</pre>")[0])
    proof, checkpoint, *signed = text.split("\n\n")
    first, extra, index, *path = proof.split("\n")
    origin, size, root, *_ = checkpoint.split("\n")
    must((first, extra[:6], index[:6]) == ("c2sp.org/tlog-proof@v1", "extra ", "index "))
    data, here, last = json.loads(decoded(extra[6:])), int(index[6:]), int(size) - 1
    must((f"index {here}", str(last + 1)) == (index, size) and 0 <= here <= last)
    node = sha256(b"\0" + data["leaf"].encode()).digest()
    for sibling in map(decoded, path):  # RFC 9162, 2.1.3.2
        must(last > 0)
        is_right = here & 1 or here == last
        node = sha256(b"\1" + (sibling + node if is_right else node + sibling)).digest()
        while is_right and not here & 1 and here:
            here, last = here >> 1, last >> 1
        here, last = here >> 1, last >> 1
    line = json.loads(data["root_line"])
    head = sha256(f"{line['covers']}{data['root_line']}\n".encode()).hexdigest()
    must(last == 0 and node == decoded(root) and origin.endswith(f"/{head}"))
    must((line["root"], line["leaves"]) == (node.hex(), int(size)))
    must(signed or origin == f"bulk-eraser/{head}")
    if sys.argv[2:]:
        must_be_signed(checkpoint + "\n", signed[0].rstrip("\n"), sys.argv[2])
except (ValueError, LookupError, TypeError):
    must(False)
print(*(f"{name}: {value}" for name, value in json.loads(data["leaf"]).items()), sep="\n")
print(f"head of the ledger: {head}; signature {'good' if sys.argv[2:] else 'not looked at'}")
