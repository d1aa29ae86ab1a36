"""The stock server's payment provider: calls a gateway over HTTP, again when the network or the gateway fails."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Any, Self

import httpx


class ProviderError(Exception):
    """The gateway refused, or could not be reached in all attempts. `status` is None without an answer."""

    def __init__(self, message: str, status: int | None = None, body: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = body or {}


class StockProvider:
    """Calls as the JavaScript provider does: its header, three attempts, numbers, and no idempotency key."""

    def __init__(
        self,
        gateway_url: str,
        api_key: str | None,
        *,
        timeout: float = 30,
        retry_attempts: int = 3,
        retry_delay: float = 0.2,
        custom_headers: dict[str, str] | None = None,
    ) -> None:
        headers = {"Content-Type": "application/json", "X-WS402-Provider": "proxy", **(custom_headers or {})}
        if api_key is not None:
            headers["Authorization"] = f"Bearer {api_key}"
        self._http = httpx.AsyncClient(base_url=gateway_url, headers=headers, timeout=timeout)
        self.retry_attempts = retry_attempts
        self.retry_delay = retry_delay

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def raw(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One attempt, whatever it brings."""
        return await self._http.request(method, path, **options)

    async def generate_payment_details(self, amount: int, resource_id: str, estimated_duration: int) -> dict[str, Any]:
        """An invoice over `amount` smallest units."""
        body = {"amount": amount, "resourceId": resource_id, "estimatedDuration": estimated_duration}
        return await self._call("POST", "/api/payment/generate", body)

    async def verify_payment(self, proof: dict[str, Any]) -> dict[str, Any]:
        """Whether the proof is a payment, and of how much."""
        return await self._call("POST", "/api/payment/verify", {"proof": proof, "timestamp": _now()})

    async def issue_refund(self, proof: dict[str, Any], amount: int) -> dict[str, Any]:
        """Give back `amount` of what the proof paid."""
        body = {"proof": proof, "amount": amount, "timestamp": _now()}
        return await self._call("POST", "/api/payment/refund", body)

    async def health_check(self) -> bool:
        """Whether the gateway says that it is well."""
        try:
            return bool((await self.raw("GET", "/api/health")).json().get("status") == "ok")
        except (httpx.HTTPError, ValueError):
            return False

    async def get_gateway_info(self) -> dict[str, Any]:
        """The gateway's figures."""
        return await self._call("GET", "/api/stats", None)

    async def _call(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        failure = ProviderError("no attempt was made")
        for attempt in range(self.retry_attempts):
            if attempt:
                await asyncio.sleep(self.retry_delay * attempt)
            try:
                answer = await self.raw(method, path, json=body)
            except httpx.TransportError as error:
                failure = ProviderError(f"{path}: {error!r}")
                continue
            content = _json(answer)
            if answer.is_success:
                return content
            failure = ProviderError(f"{path}: {answer.status_code} {content}", answer.status_code, content)
            if answer.status_code < 500:
                break
        raise failure


def _now() -> int:
    return int(time.time() * 1000)


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        content = answer.json()
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
