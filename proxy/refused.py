"""How a request ends that the app does not answer."""

from paastis.reasons import Reason


class Refused(Exception):
    """Ends a request with an answer of ours."""

    def __init__(
        self,
        status: int,
        reason: Reason | None,
        *,
        retry_after: int | None = None,
        text: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after
        self.text = text
