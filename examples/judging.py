"""What the exceptions of a provider's own client mean, where the tables of outcomes cannot know it."""

import httpx

from troth import Judgement, Outcome, Provider


class WarehouseClosed(Exception):
    """Raised by the warehouse's client when it is told "come back later": it has taken nothing."""

    def __init__(self, opens_in_s: float) -> None:
        super().__init__(f"the warehouse opens in {opens_in_s:.0f} s")
        self.opens_in_s = opens_in_s


def judge(error: BaseException) -> Judgement | Outcome | None:
    """Asked before the tables; None leaves the exception to them."""
    match error:
        case WarehouseClosed():
            return Judgement(Outcome.NOT_DONE, str(error), retry_after_s=error.opens_in_s)
        case httpx.HTTPStatusError() if error.response.status_code == 409:
            # In general 409 is unknown. This API documents it: "out of stock, nothing was reserved".
            return Outcome.REFUSED
        case _:
            return None


warehouse = Provider("warehouse", judge=judge)
