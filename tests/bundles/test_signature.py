"""Signatures: what was signed is accepted, and nothing else is."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from aepipe.bundles.bundle import Bundle
from aepipe.bundles.job_bundle import open_bundle
from aepipe.bundles.signature import SIGNATURE
from aepipe.config.job import parse_job
from aepipe.errors import ExtraMissing, OptionInvalid, SignatureInvalid
from aepipe.jobs.sign import sign
from aepipe.jobs.verify import verify
from tests.support.bundles import sealed
from tests.support.linear_bundle import make_bundle, numbers


def _pair(
    folder: Path, name: str, *, encryption: KeySerializationEncryption | None = None, seed: int = 1
) -> tuple[Path, Path]:
    """Write a private and a public key as PEM files."""
    key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
    private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path, numbers(60)).path


def test_a_signed_bundle_opens_under_its_key_and_without_one(bundle: Path, tmp_path: Path) -> None:
    private, public = _pair(tmp_path, "team")

    result = sign(bundle, private)

    assert result.version == f"linear/{bundle.name}"
    assert result.path == bundle / SIGNATURE
    assert Bundle.open(bundle, public_key=public).version == Bundle.open(bundle).version
    assert verify(bundle, key=public).checked == (
        f"bundle linear/{bundle.name}: every file, and the golden rows, and the signature",
    )
    assert verify(bundle, key=public, untrusted=True) == verify(bundle, key=public)


def test_signing_twice_gives_the_same_signature(bundle: Path, tmp_path: Path) -> None:
    private, _ = _pair(tmp_path, "team")

    sign(bundle, private)
    before = (bundle / SIGNATURE).read_bytes()
    sign(bundle, private)

    assert (bundle / SIGNATURE).read_bytes() == before


def test_bundles_without_a_signature_or_by_another_key_are_refused(bundle: Path, tmp_path: Path) -> None:
    private, public = _pair(tmp_path, "team")
    _, other = _pair(tmp_path, "other", seed=2)

    with pytest.raises(SignatureInvalid, match="is not signed: expected a signature by"):
        Bundle.open(bundle, public_key=public)
    sign(bundle, private)
    with pytest.raises(SignatureInvalid, match=r"no valid signature by .*: another key signed it"):
        Bundle.open(bundle, public_key=other)
    (fault,) = verify(bundle, key=other).faults

    assert "another key signed it" in fault


def test_a_signature_does_not_pass_to_another_bundle(bundle: Path, tmp_path: Path) -> None:
    private, public = _pair(tmp_path, "team")
    sign(bundle, private)

    forged = sealed(bundle, lambda manifest: manifest.update(family="other"))

    assert Bundle.open(forged).manifest.family == "other"
    with pytest.raises(SignatureInvalid, match="the manifest or the signature changed"):
        Bundle.open(forged, public_key=public)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"{}", "is not a signature"),
        (b"", "is not a signature"),
        (b'{"algorithm": "none", "public_key": "", "signature": ""}', "is not a signature"),
        (json.dumps({"public_key": "0" * 64, "signature": "0" * 128}).encode(), "has no valid signature"),
        (b" " * 70_000, "it is too large"),
    ],
)
def test_damaged_signatures_are_refused_in_one_sentence(
    bundle: Path, tmp_path: Path, content: bytes, sentence: str
) -> None:
    _, public = _pair(tmp_path, "team")
    (bundle / SIGNATURE).write_bytes(content)

    with pytest.raises(SignatureInvalid, match=sentence):
        Bundle.open(bundle, public_key=public)


def test_files_that_are_not_keys_are_refused(bundle: Path, tmp_path: Path) -> None:
    private, public = _pair(tmp_path, "team")
    locked, _ = _pair(tmp_path, "locked", encryption=BestAvailableEncryption(b"secret"))
    exchange = tmp_path / "exchange.pem"
    pem = X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    exchange.write_bytes(pem)

    for path, sentence in (
        (public, "is not an ed25519 private key"),
        (exchange, "is not an ed25519 private key"),
        (locked, "is encrypted: expected a private key without a password"),
        (tmp_path / "absent.pem", "cannot be read: No such file"),
    ):
        with pytest.raises(OptionInvalid, match=sentence):
            sign(bundle, path)
    with pytest.raises(OptionInvalid, match="is not an ed25519 public key"):
        verify(bundle, key=private)
    assert not (bundle / SIGNATURE).exists()


def test_a_job_that_names_a_key_refuses_other_bundles(bundle: Path, tmp_path: Path) -> None:
    private, _ = _pair(tmp_path, "team")
    raw = {"name": "linear", "data": {"path": "data"}, "run": {"public_key": "team.pub.pem"}}
    job = parse_job(raw, source=tmp_path / "job.toml")

    with pytest.raises(SignatureInvalid, match="is not signed"):
        open_bundle(job, bundle.name)
    sign(bundle, private)

    assert open_bundle(job, bundle.name).version == f"linear/{bundle.name}"


def test_without_the_package_the_extra_is_named(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, public = _pair(tmp_path, "team")
    for name in [name for name in sys.modules if name.startswith("cryptography")] + ["cryptography"]:
        monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(ExtraMissing, match=r"aepipe\[sign\]"):
        sign(bundle, private)
    with pytest.raises(ExtraMissing, match=r"aepipe\[sign\]"):
        Bundle.open(bundle, public_key=public)


def test_signatures_travel_with_copies_of_the_folder(bundle: Path, tmp_path: Path) -> None:
    private, public = _pair(tmp_path, "team")
    sign(bundle, private)

    copy = Path(shutil.copytree(bundle, tmp_path / "elsewhere" / "linear" / bundle.name))

    assert Bundle.open(copy, public_key=public).path == copy
