"""Results of exports for the eyes of one recipient only: age, by pyrage (an extra).

https://age-encryption.org/v1, https://github.com/woodruffw/pyrage. This program has no key that
opens what it wrote.
"""

from typing import IO

from bulk_eraser.errors import ConfigurationError, UsageError

__all__ = ["Recipient"]

_INSTALL = "pip install 'bulk-eraser[age]'"


class Recipient:
    """An age recipient, `age1…`.

    Raises `UsageError` for what is none, `ConfigurationError` where pyrage is not installed.
    """

    def __init__(self, text: str) -> None:
        try:
            from pyrage import RecipientError, x25519
        except ImportError:
            raise ConfigurationError(
                f"--encrypt-to needs an extra package, which is not installed: {_INSTALL}."
            ) from None
        try:
            self._recipient: x25519.Recipient = x25519.Recipient.from_str(text)
        except RecipientError:
            secret = "That is a secret key: " if text.upper().startswith("AGE-SECRET-KEY") else ""
            raise UsageError(
                f"{secret}--encrypt-to takes an age recipient, such as age1 and 58 more letters "
                "and digits, which `age-keygen` prints as the public key."
            ) from None

    def encrypt(self, plain: IO[bytes], packed: IO[bytes]) -> None:
        """All of one file into another. Raises `OSError`."""
        from pyrage import EncryptError, encrypt_io

        try:
            encrypt_io(plain, packed, [self._recipient])
        except EncryptError as error:
            raise OSError(str(error)) from None
