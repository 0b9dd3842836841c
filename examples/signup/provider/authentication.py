"""Secret keys, as a bearer token or as the user name of basic authentication."""

import base64
import binascii
from collections.abc import Mapping

from examples.signup.provider.errors import ApiError


def authenticate(headers: Mapping[str, str]) -> str:
    """The API key; any test key is good. Raises `ApiError` 401."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    key = credentials.strip()
    if scheme.lower() == "basic":
        try:
            key = base64.b64decode(key).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            key = ""
    if not key:
        raise ApiError(401, "You did not provide an API key.")
    if not key.startswith(("sk_test_", "rk_test_")):
        raise ApiError(401, f"Invalid API Key provided: {key[:8]}{'*' * len(key[8:])}")
    return key
