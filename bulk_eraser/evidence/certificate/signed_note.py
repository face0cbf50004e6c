"""Checkpoints and their signatures: C2SP tlog-checkpoint and signed-note, with Ed25519 keys.

    origin           <signer>/<the ledger's head at the root line>
    tree size        number of leaves
    root             in base64

    — <signer> <base64 of the key's id and the signature>

Each root has an origin of its own, so a signer never signs two trees of one log that contradict
each other. The head in it makes the signature one over the whole ledger up to there.
"""

import re
from base64 import b64encode
from hashlib import sha256
from typing import TYPE_CHECKING

from bulk_eraser.errors import ConfigurationError, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

__all__ = [
    "UNSIGNED",
    "Signer",
    "checkpoint_text",
    "is_signed_by",
    "must_be_installed",
    "public_key_in",
    "signer_of",
    "verifier_key",
]

UNSIGNED = "bulk-eraser"
"""Stands for the signer where there is none."""
ED25519 = b"\x01"
KEY_ID_BYTES = 4
_INSTALL = "pip install 'bulk-eraser[certificate]'"


def checkpoint_text(signer: str, head: str, leaves: int, root: bytes) -> str:
    """What is signed: three lines, each with its end."""
    return f"{signer}/{head}\n{leaves}\n{b64encode(root).decode()}\n"


class Signer:
    """An Ed25519 key, and the name under which it is known."""

    def __init__(self, name: str, key: "Ed25519PrivateKey") -> None:
        self.name = name
        self._key = key

    @property
    def verifier_key(self) -> str:
        """What others need to verify a note, in the form that their programs take."""
        return verifier_key(self.name, self._key.public_key())

    def sign(self, text: str) -> bytes:
        """The key's id, and the signature."""
        return _key_id(self.name, self._key.public_key()) + self._key.sign(text.encode())


def signer_of(name: str, pem: bytes, path: str) -> Signer:
    """`pem` is the content of the file at `path`. Raises `UsageError` for what is no name for a
    key, `ConfigurationError` for what is no private key, or without the extra package."""
    if not re.fullmatch(r"[^\s+]{1,200}", name) or not name.isprintable():
        raise UsageError(
            "--signer must be the name under which you publish the key, such as "
            "example.com/erasures, without spaces and +."
        )
    must_be_installed()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(
            f"The file {path} of --signing-key is not an Ed25519 private key (PEM, without a "
            "password). Make one with `openssl genpkey -algorithm ed25519`."
        )
    return Signer(name, key)


def public_key_in(path: str) -> "Ed25519PublicKey":
    """The public key in this PEM file. Raises `ConfigurationError`."""
    must_be_installed()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        with open(path, "rb") as file:
            key = load_pem_public_key(file.read(1 << 16))
    except OSError as error:
        raise ConfigurationError(
            f"The file {path} of --signed-by cannot be read: {error.strerror}."
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigurationError(
            f"The file {path} of --signed-by is not an Ed25519 public key (PEM). Whoever has the "
            "private key makes it with `openssl pkey -pubout`."
        )
    return key


def is_signed_by(key: "Ed25519PublicKey", text: str, name: str, signature: bytes) -> bool:
    """Is a signature line with this name and these bytes, key id included, one of `text`?"""
    from cryptography.exceptions import InvalidSignature

    if signature[:KEY_ID_BYTES] != _key_id(name, key):
        return False
    try:
        key.verify(signature[KEY_ID_BYTES:], text.encode())
    except InvalidSignature:
        return False
    return True


def verifier_key(name: str, key: "Ed25519PublicKey") -> str:
    encoded = b64encode(ED25519 + key.public_bytes_raw()).decode()
    return f"{name}+{_key_id(name, key).hex()}+{encoded}"


def must_be_installed() -> None:
    """Raises `ConfigurationError` without the package that signs and verifies."""
    try:
        import cryptography  # noqa: F401 is it there?
    except ImportError:
        raise ConfigurationError(
            f"Signatures need an extra package: {_INSTALL}. Nothing was written."
        ) from None


def _key_id(name: str, key: "Ed25519PublicKey") -> bytes:
    return sha256(name.encode() + b"\n" + ED25519 + key.public_bytes_raw()).digest()[:KEY_ID_BYTES]
