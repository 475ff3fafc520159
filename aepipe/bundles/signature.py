"""Signatures of bundles: ed25519 over the manifest, which holds the digest of every other file.

The signature is a file of the version, SIGNATURE.json. Keys are PEM files, as `openssl genpkey -algorithm ed25519`
writes them. The package `cryptography` is imported only where a key is used.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, ValidationError

from aepipe.errors import OptionInvalid, SignatureInvalid
from aepipe.frozen import FrozenModel
from aepipe.storage import put_json
from aepipe.storage.regular_files import read_regular
from aepipe.versions import named_extras

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNATURE = "SIGNATURE.json"

_CONTEXT = b"aepipe bundle 1\n"  # keeps a signature of other data by the same key from being one of a bundle
_MOST_BYTES = 64 << 10
_NEW_KEY = "Make one: openssl genpkey -algorithm ed25519"
_REMEDY = "Do not use the bundle, or sign it: aepipe sign"


class Signature(FrozenModel):
    """Content of SIGNATURE.json."""

    algorithm: Literal["ed25519"] = "ed25519"
    public_key: str = Field(pattern=r"^[0-9a-f]{64}$", description="the raw public key, as hex digits")
    signature: str = Field(pattern=r"^[0-9a-f]{128}$", description="of the manifest's bytes, as hex digits")


def sign_manifest(folder: Path, manifest: bytes, private_key: Path) -> Signature:
    """Sign a manifest and write the signature into the folder; an earlier signature is replaced.

    Raises:
        OptionInvalid: the file holds no ed25519 private key.
    """
    key = _private_key(private_key)
    signature = Signature(
        public_key=key.public_key().public_bytes_raw().hex(), signature=key.sign(_CONTEXT + manifest).hex()
    )
    put_json(folder / SIGNATURE, signature.model_dump(mode="json"))
    return signature


def check_signature(folder: Path, manifest: bytes, public_key: Path) -> None:
    """Check that the owner of a key has signed a manifest.

    Args:
        folder: folder of the version.
        manifest: bytes of its manifest.
        public_key: PEM file of the public key.

    Raises:
        SignatureInvalid: there is no signature, or it is not one of this manifest by this key.
        OptionInvalid: the file holds no ed25519 public key.
    """
    key = _public_key(public_key)
    from cryptography.exceptions import InvalidSignature  # after the message about a package that is not installed

    path = folder / SIGNATURE
    try:
        signature = Signature.model_validate_json(read_regular(path, most=_MOST_BYTES))
        key.verify(bytes.fromhex(signature.signature), _CONTEXT + manifest)
    except FileNotFoundError:
        raise SignatureInvalid(f"{folder} is not signed: expected a signature by {public_key}. {_REMEDY}") from None
    except OSError as error:
        raise SignatureInvalid(f"{path} cannot be read: {error.strerror}. {_REMEDY}") from None
    except ValidationError:
        raise SignatureInvalid(f"{path} is not a signature. {_REMEDY}") from None
    except InvalidSignature:
        expected = key.public_bytes_raw().hex()
        cause = "another key signed it" if signature.public_key != expected else "the manifest or the signature changed"
        raise SignatureInvalid(f"{folder} has no valid signature by {public_key}: {cause}. {_REMEDY}") from None


def _private_key(path: Path) -> "Ed25519PrivateKey":
    with named_extras():
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    try:
        key = load_pem_private_key(_read_key(path), password=None)
    except TypeError:
        raise OptionInvalid(f"{path} is encrypted: expected a private key without a password. {_NEW_KEY}") from None
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise OptionInvalid(f"{path} is not an ed25519 private key in PEM format. {_NEW_KEY}")
    return key


def _public_key(path: Path) -> "Ed25519PublicKey":
    with named_extras():
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    try:
        key = load_pem_public_key(_read_key(path))
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise OptionInvalid(
            f"{path} is not an ed25519 public key in PEM format. Write it: openssl pkey -in KEY.pem -pubout"
        )
    return key


def _read_key(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OptionInvalid(f"key {path} cannot be read: {error.strerror}. Name another file.") from None
