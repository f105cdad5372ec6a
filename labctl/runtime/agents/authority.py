"""The lab's own certificate authority.

Rules: one authority a lab, made with it and removed with it; EC P-256 keys, files of keys 0600 from their first byte. A node's
certificate names the node (CN) and its management address (IP SAN). Only who may call agents gets one for client authentication
(see labctl.agent.tls).
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

LIFETIME = datetime.timedelta(days=3650)
"""A lab left running for years must not die of its certificates; they guard one machine's inner network."""

CLOCK_SLACK = datetime.timedelta(hours=1)
"""Certificates are valid a little before they are made, for clocks that are set back."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The files by which a node shows who it is."""

    certificate: Path
    key: Path
    authority: Path


class Authority:
    """Makes certificates for a lab's nodes. Opening one makes its key and certificate where there are none.

    Args:
        directory: where its files live (`<lab dir>/ca`).
        lab: the lab's name, for the authority's subject.
    """

    def __init__(self, directory: Path, lab: str) -> None:
        self._directory = directory
        self._lab = lab
        self.certificate = directory / "ca.pem"
        self._key_file = directory / "ca.key"

    def ensure(self) -> None:
        """Make the authority unless it exists."""
        if self.certificate.exists() and self._key_file.exists():
            return
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec

        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(f"labctl {self._lab} authority")
        builder = _builder(name, name, key).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_key_usage(authority=True), critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        _write_key(self._key_file, key)
        # The certificate comes last: it says that the key is whole.
        _write_certificate(self.certificate, _signed(builder, key))

    def issue(self, directory: Path, node: str, address: str | None, *, client: bool) -> Identity:
        """A node's key and certificate, made unless `directory` has them for the same name, address and use.

        Args:
            directory: where the node's files go.
            node: the node's name (CN).
            address: its IP address on the management network, or None for one that only calls.
            client: whether it may call agents.
        """
        self.ensure()
        found = Identity(certificate=directory / "node.pem", key=directory / "node.key", authority=self.certificate)
        if found.key.exists() and found.certificate.exists() and self._suits(found, node, address, client):
            return found
        from cryptography.hazmat.primitives.asymmetric import ec

        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._certify(key, node, address, client=client)
        _write_key(found.key, key)
        _write_certificate(found.certificate, certificate)
        return found

    def _certify(
        self, key: EllipticCurvePrivateKey, node: str, address: str | None, *, client: bool
    ) -> x509.Certificate:
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
        from cryptography.x509.oid import ExtendedKeyUsageOID

        signer = load_pem_private_key(self._key_file.read_bytes(), password=None)
        issuer = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        if not isinstance(signer, EllipticCurvePrivateKey):
            raise TypeError(f"{self._key_file} is not an EC key")
        uses = [ExtendedKeyUsageOID.SERVER_AUTH] if address else []
        uses += [ExtendedKeyUsageOID.CLIENT_AUTH] if client else []
        names: list[x509.GeneralName] = [x509.DNSName(node)]
        if address:
            names.append(x509.IPAddress(ipaddress.ip_address(address)))
        builder = _builder(_name(node), issuer.subject, key)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage(authority=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()),  # type: ignore[arg-type]
            critical=False,
        )
        return _signed(builder, signer)

    def _suits(self, found: Identity, node: str, address: str | None, client: bool) -> bool:
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

        try:
            certificate = x509.load_pem_x509_certificate(found.certificate.read_bytes())
            key = load_pem_private_key(found.key.read_bytes(), password=None)
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            uses = set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
            certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(self.certificate.read_bytes()))
        except Exception:  # torn by a crash, or another authority's: either way it is made anew
            return False
        addresses = [str(known) for known in names.get_values_for_type(x509.IPAddress)]
        common = [str(part.value) for part in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        return (
            key.public_key() == certificate.public_key()
            and common == [node]
            and addresses == ([str(ipaddress.ip_address(address))] if address else [])
            and (ExtendedKeyUsageOID.CLIENT_AUTH in uses) == client
        )


def _name(common: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(subject: x509.Name, issuer: x509.Name, key: EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    from cryptography import x509

    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SLACK)
        .not_valid_after(now + LIFETIME)
    )


def _signed(builder: x509.CertificateBuilder, signer: EllipticCurvePrivateKey) -> x509.Certificate:
    from cryptography.hazmat.primitives import hashes

    return builder.sign(signer, hashes.SHA256())


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _write_key(path: Path, key: EllipticCurvePrivateKey) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write(path, pem, mode=0o600)


def _write_certificate(path: Path, certificate: x509.Certificate) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding

    _write(path, certificate.public_bytes(Encoding.PEM), mode=0o644)


def _write(path: Path, content: bytes, *, mode: int) -> None:
    """Whole or not at all, and never readable by more than `mode` says."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    draft.replace(path)
