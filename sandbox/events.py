"""Events: the cloud tells who asked for it what it has just done, and waits for the answer before it goes on.

    POST   /_sandbox/subscriptions   {"event": "snapshot.finished", "url": "http://127.0.0.1:9000/"}
    GET    /_sandbox/subscriptions   the subscriptions
    DELETE /_sandbox/subscriptions   all of them; `?url=` or `?event=` narrow it

So somebody outside can act between two steps of the cloud. A subscriber receives `{"event": …, "data": {…}}`.
"""

from __future__ import annotations

import logging

import httpx2
from fastapi import APIRouter, Depends, FastAPI
from pydantic import BaseModel, ConfigDict, HttpUrl, JsonValue, field_validator

from sandbox.admin import PREFIX, admin_only
from sandbox.loopback import NO_TLS, on_this_machine

ANSWER_WITHIN = 10.0  # seconds that a subscriber may hold the cloud up

_log = logging.getLogger(__name__)


class Subscription(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    event: str
    url: HttpUrl

    @field_validator("url")
    @classmethod
    def _stays_on_this_machine(cls, url: HttpUrl) -> HttpUrl:
        return on_this_machine(url)


class Events:
    """The subscriptions to one part of the cloud. They live as long as its process."""

    def __init__(self, admin_token: str) -> None:
        self._admin_token = admin_token
        self._subscriptions: list[Subscription] = []

    def install(self, app: FastAPI) -> None:
        app.include_router(self._router())

    async def publish(self, name: str, **data: JsonValue) -> None:
        """Tells every subscriber of the event, one after the other, and waits for each answer (10 s at most).

        A subscriber that is gone, slow or unhappy is logged; it cannot stop the cloud.
        """
        subscribers = [subscription for subscription in self._subscriptions if subscription.event == name]
        if not subscribers:
            return
        async with httpx2.AsyncClient(timeout=ANSWER_WITHIN, trust_env=False, verify=NO_TLS) as client:
            for subscriber in subscribers:
                try:
                    answer = await client.post(str(subscriber.url), json={"event": name, "data": data})
                    answer.raise_for_status()
                except httpx2.HTTPError as error:
                    _log.warning("event %s: %s did not take it: %r", name, subscriber.url, error)

    def _router(self) -> APIRouter:
        router = APIRouter(
            prefix=f"{PREFIX}/subscriptions",
            dependencies=[Depends(admin_only(self._admin_token))],
            include_in_schema=False,
        )

        @router.get("")
        async def get_subscriptions() -> list[Subscription]:
            return self._subscriptions

        @router.post("", status_code=201)
        async def subscribe(subscription: Subscription) -> Subscription:
            if subscription not in self._subscriptions:
                self._subscriptions.append(subscription)
            return subscription

        @router.delete("")
        async def unsubscribe(event: str | None = None, url: HttpUrl | None = None) -> list[Subscription]:
            ended = [
                subscription
                for subscription in self._subscriptions
                if event in (None, subscription.event) and url in (None, subscription.url)
            ]
            self._subscriptions = [one for one in self._subscriptions if one not in ended]
            return ended

        return router
