"""Key pairs and certificates for TLS between Dask's processes.

All processes of one Dask cluster share a key pair with a self-signed certificate, and accept only peers that have it.
Dask checks no host names, so the certificate names none.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from daskjobs.cluster.tuning import variables
from daskjobs.errors import ConfigError

if TYPE_CHECKING:  # its import takes a quarter of a second, and cleanup and the janitor have no client
    from distributed import Security

TLS_FILES = ("ca-file", "client.cert", "client.key")
ROLES = ("client", "scheduler", "worker")
CLOCKS, DAY = timedelta(minutes=5), timedelta(days=1)


@dataclass(frozen=True)
class KeyPair:
    """A private key and its self-signed certificate, both as PEM."""

    certificate: str
    key: str = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the certificate, in hexadecimal digits."""
        return hashlib.sha256(self.certificate.encode()).hexdigest()

    def seconds_left(self) -> float:
        """Return the seconds for which the certificate is still valid."""
        certificate = x509.load_pem_x509_certificate(self.certificate.encode())
        return (certificate.not_valid_after_utc - datetime.now(UTC)).total_seconds()

    def security(self) -> "Security":
        """Return Dask's TLS settings for client, scheduler, nannies and workers that accept this key pair alone."""
        from distributed import Security

        from daskjobs.cluster.openssl import mend_openssl

        mend_openssl()
        pair = {"cert": self.certificate, "key": self.key}
        files = {f"tls_{role}_{part}": text for role in ROLES for part, text in pair.items()}
        return Security(require_encryption=True, tls_ca_file=self.certificate, **files)


def new_key_pair(seconds: float) -> KeyPair:
    """Return a new key pair, valid for ``seconds`` and a day.

    The day is for later attempts, which take the cluster over and extend its deadline. The certificate is valid from
    five minutes ago, for machines whose clock is behind. The key is of the curve P-256, which is several times faster
    to make and to use than RSA, which Dask's Security.temporary takes.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "daskjobs")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - CLOCKS)
        .not_valid_after(now + DAY + timedelta(seconds=seconds))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return KeyPair(certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode())


def check_certificates() -> None:
    """Raise ConfigError unless Dask's configuration names the TLS files that a client needs."""
    import dask
    from distributed import Security

    keys = {f"distributed.comm.tls.{name}": dask.config.get(f"distributed.comm.tls.{name}", None) for name in TLS_FILES}
    missing = [key for key, path in keys.items() if not path]
    if missing:
        raise ConfigError(
            f"--cluster tls:// needs certificates: set {', '.join(missing)} in Dask's configuration, "
            f"or {', '.join(variables(dict.fromkeys(missing, '')))} in the environment"
        )
    try:
        Security().get_connection_args("client")
    except OSError as error:  # includes ssl.SSLError
        raise ConfigError(
            f"--cluster tls:// can't use {', '.join(map(str, keys.values()))}: {error}; "
            "give PEM files that belong together"
        ) from error
