"""How the service is reached where it is not simply there: through a proxy, by an own authority."""

import ssl
from dataclasses import dataclass

from yarl import URL

from bulk_eraser.elevate.endpoints import is_host
from bulk_eraser.errors import ConfigurationError

__all__ = ["Route", "tls_trusting", "usable_proxy"]


@dataclass(frozen=True)
class Route:
    """`proxy` None: none. `tls` None: the certificates that this machine trusts."""

    proxy: URL | None = None
    tls: ssl.SSLContext | None = None


def usable_proxy(named: str, where: str) -> URL:
    """The proxy that `named` is; `where` it was named goes into the error, its text does not.

    Raises `ConfigurationError`. A proxy is asked for a tunnel (CONNECT), so it sees no secret.
    """
    try:
        proxy = URL(named if "://" in named else f"http://{named}")
        if proxy.scheme == "http" and is_host(proxy.raw_host or ""):
            return proxy
    except (ValueError, IndexError):  # the latter is yarl's for http://[::1]@
        pass
    raise ConfigurationError(
        f"The proxy in {where} cannot be used. Write it as http://host:port, or remove it."
    )


def tls_trusting(ca_file: str) -> ssl.SSLContext:
    """Trusts the certificates in this PEM file and no others. Raises `ConfigurationError`."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = "it contains no certificate (PEM)" if isinstance(error, ssl.SSLError) else ""
        reason = reason or getattr(error, "strerror", None) or "it is not a file"
        raise ConfigurationError(
            f"The file {ca_file} of --ca-file cannot be used: {reason}. Use a PEM file with the "
            "certificates of the authority."
        ) from None
