"""What one run may still ask: requests, and tokens in and out.

Tokens are those that the answer's `usage` states. Before a request, and where an answer states none, they are estimated upwards: one
token in for every 2 bytes of the request (prices cost models about one for every 2.3), and `max_tokens_per_answer` out. A request that
the server refused by its status took none; one that was never answered is taken to have cost its estimate. A server that states more
than the estimate can take a run beyond its tokens by one answer.
"""

from __future__ import annotations

from policyengine.spec.llm_fallback import OpenAiCompatible

BYTES_PER_TOKEN = 2


class Budget:
    """Of one run. `calls`, `tokens_in` and `tokens_out` are what it has taken so far."""

    def __init__(self, spec: OpenAiCompatible) -> None:
        self._spec = spec
        self.calls = self.tokens_in = self.tokens_out = 0

    def allows(self, request: bytes) -> bool:
        """Whether `request` stays within all three, by its estimate."""
        spec = self._spec
        return (
            self.calls < spec.max_calls
            and self.tokens_in + _estimate(request) <= spec.max_tokens_in
            and self.tokens_out + spec.max_tokens_per_answer <= spec.max_tokens_out
        )

    def charge(self, request: bytes) -> None:
        """`request` is sent."""
        self.calls += 1
        self.tokens_in += _estimate(request)
        self.tokens_out += self._spec.max_tokens_per_answer

    def settle(self, request: bytes, tokens_in: int | None, tokens_out: int | None) -> None:
        """`request`, already charged, took this much instead of its estimate; None is unknown."""
        if tokens_in is not None:
            self.tokens_in += tokens_in - _estimate(request)
        if tokens_out is not None:
            self.tokens_out += tokens_out - self._spec.max_tokens_per_answer


def _estimate(request: bytes) -> int:
    return -(-len(request) // BYTES_PER_TOKEN)
