"""Encrypted values and passwords with the standard library, which has neither AES nor bcrypt.

In the place of AES: the text with a stream of HMAC-SHA-256 over it, and a tag. What the applications keep, and what
counts for a restore, is the same: without the delivered key nothing can be read, and a wrong key is noticed.
"""

import hashlib
import hmac
import os


class WrongKey(Exception):
    """The value was encrypted with another key, or altered."""


def key_of(secret, salt):
    return hashlib.pbkdf2_hmac("sha256", secret.encode(), salt.encode(), 4096)


def stream(key, nonce, data):
    out = bytearray()
    for number, at in enumerate(range(0, len(data), 32)):
        pad = hmac.digest(key, nonce + number.to_bytes(8, "big"), "sha256")
        out += bytes(a ^ b for a, b in zip(data[at : at + 32], pad))
    return bytes(out)


def seal(key, text):
    """Nonce, encrypted text and tag."""
    nonce = os.urandom(12)
    sealed = stream(key, nonce, text.encode())
    return nonce, sealed, hmac.digest(key, b"tag" + nonce + sealed, "sha256")


def unseal(key, nonce, sealed, tag):
    if not hmac.compare_digest(tag, hmac.digest(key, b"tag" + nonce + sealed, "sha256")):
        raise WrongKey("The value was encrypted with another key")
    return stream(key, nonce, sealed).decode()


def hashed(password, salt=None):
    salt = salt or os.urandom(16).hex()
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), 20000).hex()
    return f"$standin${salt}${digest}"


def fits(password, known):
    return hmac.compare_digest(known, hashed(password, known.split("$")[2]))
