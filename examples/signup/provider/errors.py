"""Errors as Stripe words them: `{"error": {"type", "code", "message", "param", ...}}`."""

from typing import Any


class ApiError(Exception):
    """An answer that is not 2xx. Work done so far in the request is rolled back."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        kind: str = "invalid_request_error",
        **more: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        fields = {"code": code, "message": message, "param": param, "type": kind, **more}
        self.body = {"error": {name: value for name, value in fields.items() if value is not None}}


class CardError(ApiError):
    """The bank said no. What was recorded about the attempt stays recorded."""

    def __init__(self, code: str, decline_code: str | None, message: str, **more: Any) -> None:
        super().__init__(
            402, message, code=code, kind="card_error", decline_code=decline_code, **more
        )


def missing(what: str, ident: str, param: str) -> ApiError:
    """No such object: 404 when the URL names it, 400 when a parameter does."""
    status = 404 if param == "id" else 400
    message = f"No such {what}: '{ident}'"
    return ApiError(status, message, code="resource_missing", param=param)
