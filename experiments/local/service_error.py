"""An error as AWS sends it: HTTP status, code, message, and members of the error's own."""

import json

from experiments.local.http import Response

VALIDATION_ERROR = "ValidationError"


class ServiceError(Exception):
    """Raised, by whatever answers a request, to answer it with an error.

    `members` are the fields that the service model gives this error beside its message.
    """

    def __init__(self, status: int, code: str, message: str, **members: str | int) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.members = members

    def response(self) -> Response:
        """Return the error as the rest-json and json protocols both read it.

        rest-json takes the code from the header, json from `__type`. The runtime's answer to too
        many requests is in no service model, and has no message.
        """
        body = {"__type": self.code, "Message": self.message, **self.members}
        said = {"message": None} if self.code == "ThrottlingException" else body
        return Response(
            status=self.status,
            headers={"Content-Type": "application/json", "x-amzn-ErrorType": self.code},
            body=json.dumps(said).encode(),
        )


def invalid(message: str) -> ServiceError:
    """Return the SageMaker API's answer to a request that breaks a rule."""
    return ServiceError(400, "ValidationException", message)


def validation_error(message: str) -> ServiceError:
    """Return SageMaker Runtime's answer to a request that breaks a rule."""
    return ServiceError(400, VALIDATION_ERROR, message)
