"""Certificates for servers of the tests, signed by an authority of their own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID


def make_certificates(folder: Path) -> None:
    """An authority (ca.pem), and a certificate for 127.0.0.1 signed by it (cert.pem, key.pem).

    client-cert.pem and client-key.pem are what a client shows that has to be known to it.
    """
    now = datetime.now(UTC)
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ledger tests")])
    authority_key = rsa.generate_private_key(65537, 2048)
    key = rsa.generate_private_key(65537, 2048)

    def certificate(subject: x509.Name, public: rsa.RSAPublicKey, *, ca: bool) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]),
                critical=False,
            )
            # Without these three Python 3.13 trusts nothing that the authority has signed.
            .add_extension(
                x509.KeyUsage(
                    digital_signature=True,
                    content_commitment=False,
                    key_encipherment=not ca,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=ca,
                    crl_sign=ca,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
                critical=False,
            )
        )
        return builder.sign(authority_key, hashes.SHA256())

    server = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
    pem = serialization.Encoding.PEM
    client_key = rsa.generate_private_key(65537, 2048)
    client = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client")])
    (folder / "client-cert.pem").write_bytes(
        certificate(client, client_key.public_key(), ca=False).public_bytes(pem)
    )
    (folder / "client-key.pem").write_bytes(
        client_key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    (folder / "ca.pem").write_bytes(
        certificate(authority, authority_key.public_key(), ca=True).public_bytes(pem)
    )
    (folder / "cert.pem").write_bytes(
        certificate(server, key.public_key(), ca=False).public_bytes(pem)
    )
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
