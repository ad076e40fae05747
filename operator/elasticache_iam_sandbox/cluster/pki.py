"""Keys and certificates of one control plane: made anew for each, of no use to any other."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_CLIENT_LIFE = timedelta(days=365)
_CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A user's certificate and key, PEM."""

    certificate: bytes
    key: bytes = field(repr=False)


class Authority:
    """A certificate authority for the API server and its clients, and the key that signs ServiceAccount tokens.

    The private keys go to files of mode 0600 in `folder`. `names` are further ones that the API server is known by.

    Attributes:
        ca_file: The authority's certificate, PEM.
        server_certificate_file: The API server's, for loopback.
        server_key_file: Its key.
        token_key_file: RSA, because EKS signs ServiceAccount tokens with RS256.
    """

    def __init__(self, folder: Path, names: Sequence[str] = ()) -> None:
        self._ca = trustme.CA(organization_name="elasticache-iam sandbox")
        server = self._ca.issue_cert("127.0.0.1", "localhost", "kubernetes", "kubernetes.default.svc", *names)
        token_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.ca_file = folder / "ca.crt"
        self.ca_file.write_bytes(self._ca.cert_pem.bytes())
        self.server_certificate_file = folder / "server.crt"
        self.server_certificate_file.write_bytes(b"".join(pem.bytes() for pem in server.cert_chain_pems))
        self.server_key_file = _write_private(folder / "server.key", server.private_key_pem.bytes())
        self.token_key_file = _write_private(folder / "service-account.key", _pem(token_key))

    @property
    def ca_certificate(self) -> bytes:
        """The authority's certificate, PEM."""
        return self._ca.cert_pem.bytes()

    def issue_client(self, user: str, groups: Sequence[str]) -> ClientCertificate:
        """Issue a certificate for a user as Kubernetes reads it: the name is the CN, each group an O."""
        key = ec.generate_private_key(ec.SECP256R1())
        ca_key = serialization.load_pem_private_key(self._ca.private_key_pem.bytes(), password=None)
        if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
            raise TypeError("trustme made a key of an unexpected type")
        ca = x509.load_pem_x509_certificate(self.ca_certificate)
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(
                x509.Name(
                    [
                        *(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups),
                        x509.NameAttribute(NameOID.COMMON_NAME, user),
                    ]
                )
            )
            .issuer_name(ca.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _CLOCK_SKEW)
            .not_valid_after(now + _CLIENT_LIFE)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        return ClientCertificate(certificate.public_bytes(serialization.Encoding.PEM), _pem(key))


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write_private(path: Path, content: bytes) -> Path:
    path.touch(mode=0o600)
    path.write_bytes(content)
    return path
