"""STS's GetCallerIdentity, by AWS's Query protocol: a form comes in, and XML goes out."""

from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from experiments.local.http import Request, Response, request_id
from experiments.local.service_error import ServiceError

_OPERATION = "GetCallerIdentity"
CALLED = f"STS.{_OPERATION}"
_VERSION = "2011-06-15"
_XML = {"Content-Type": "text/xml"}
_CODES = {
    "InvalidSignatureException": "SignatureDoesNotMatch",
    "UnrecognizedClientException": "InvalidClientTokenId",
}
"""What the Query protocol calls an error; others lose their "Exception"."""


def is_asked(request: Request) -> bool:
    """Whether a request asks who it is from."""
    if "x-www-form-urlencoded" not in request.headers.get("content-type", ""):
        return False
    fields = parse_qs(request.body.decode("latin-1"))
    return (fields.get("Action"), fields.get("Version")) == ([_OPERATION], [_VERSION])


def answer(account: str) -> Response:
    """Answer that it is from a user named local of the `account` whose key signed it."""
    said = (
        f"<{_OPERATION}Result><Arn>arn:aws:iam::{account}:user/local</Arn>"
        f"<UserId>AIDALOCAL</UserId><Account>{account}</Account></{_OPERATION}Result>"
        f"<ResponseMetadata><RequestId>{request_id()}</RequestId></ResponseMetadata>"
    )
    return Response(200, dict(_XML), _within(f"{_OPERATION}Response", said))


def refuse(error: ServiceError) -> Response:
    """Give an error as the Query protocol has it."""
    code = _CODES.get(error.code, error.code.removesuffix("Exception"))
    said = (
        f"<Error><Type>Sender</Type><Code>{code}</Code>"
        f"<Message>{escape(error.message)}</Message></Error><RequestId>{request_id()}</RequestId>"
    )
    return Response(error.status, dict(_XML), _within("ErrorResponse", said))


def _within(name: str, content: str) -> bytes:
    namespace = f"https://sts.amazonaws.com/doc/{_VERSION}/"
    return f'<{name} xmlns="{namespace}">{content}</{name}>'.encode()
