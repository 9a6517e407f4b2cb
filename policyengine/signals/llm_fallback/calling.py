"""Asking an endpoint again where that may help, within one deadline and the budget of the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from http.client import HTTPException

from policyengine.signals.llm_fallback.budget import Budget
from policyengine.signals.llm_fallback.endpoint import Endpoint, exchange
from policyengine.spec.llm_fallback import OpenAiCompatible

OK, TOO_MANY_REQUESTS, SERVER_ERROR = 200, 429, 500


def call(
    spec: OpenAiCompatible,
    to: Endpoint,
    request: bytes,
    *,
    budget: Budget,
    tally: Counter[str],
    sleep: Callable[[float], object],
    clock: Callable[[], float],
) -> bytes | None:
    """The body of a 200; None where none came in time. `budget` must allow the first request.

    429, 5xx and a broken connection are tried again after a wait, which doubles, or after Retry-After where that is longer; not at all
    where the wait would outlast the deadline. Other statuses, redirects among them, are final.
    """
    until = clock() + spec.timeout_seconds
    attempt = 0
    while True:
        budget.charge(request)
        wait = spec.backoff_seconds * 2**attempt
        try:
            response = exchange(to, request, lambda: until - clock())
        except TimeoutError:
            tally["timeouts"] += 1
            return None
        except (OSError, HTTPException):
            tally["unreachable"] += 1
        else:
            if response.status == OK:
                return response.body
            tally["http_errors"] += 1
            budget.settle(request, 0, 0)
            if response.status != TOO_MANY_REQUESTS and response.status < SERVER_ERROR:
                return None
            wait = max(wait, response.retry_after_seconds or 0.0)
        if attempt == spec.retries or wait >= until - clock() or not budget.allows(request):
            return None
        sleep(wait)
        attempt += 1
        tally["retries"] += 1
