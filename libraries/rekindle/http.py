"""A small synchronous JSON client, and the base of those of each service.

It retries what is safe to repeat, and turns every failure into a sentence:

RekindleError
├── Refused             the service answered with an error: `status`, `text`
│   └── StorageFull     (Unknown too) 507: a disk of the service is full
├── RateLimited         (Weather) 429 to the end of the patience
├── NotReachable        (Misconfigured) nobody answers at the address, from the very first call on
└── AnswerLost          (Unknown) the request went out and no answer came: it may have been obeyed

A service that answered before and cannot be reached any more is a plain Unknown.
"""

from __future__ import annotations

import ipaddress
import json as json_codec
import logging
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, TypeAlias, TypedDict, Unpack

import httpx2
from pydantic import SecretStr

from rekindle.clocks import ServiceClock
from rekindle.errors import Misconfigured, RekindleError, Unknown, Weather

Json: TypeAlias = Any

PAUSES = (2.0, 4.0, 8.0)
LONGEST_RETRY_AFTER = 60.0
REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE"})
STORAGE_FULL = 507
# Variables that name a proxy, and hosts that are reached without it.
PROXY_VARIABLES = tuple(
    name for upper in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY") for name in (upper, upper.lower())
)
GATEWAY_TROUBLE = frozenset({502, 503, 504})
# uvicorn drops an idle connection after 5 s. One that is given up earlier is never written to while it is being closed.
KEEP_ALIVE = 2.0
# With these the request never left: nothing can have happened.
NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)


# Below WARNING they write every header of an answer, session cookies included, and Robot would put that into its log.
for _logger in ("httpx2", "httpcore2"):
    logging.getLogger(_logger).setLevel(logging.WARNING)


class Refused(RekindleError):
    """The service answered, and said no.

    Attributes:
        status: the HTTP status.
        text: the service's own words.
    """

    def __init__(self, message: str, status: int, text: str) -> None:
        super().__init__(message)
        self.status = status
        self.text = text


class StorageFull(Refused, Unknown):
    """507: a disk of the service is full, and the service names it. Trying again frees no space."""


class RateLimited(Weather):
    """429 to the end of the patience. Nothing was done."""


class NotReachable(Misconfigured):
    """Nobody has ever answered at this address."""


class AnswerLost(Unknown):
    """The request went out and no answer came back: whether it was obeyed is not known."""


class JsonClient:
    """Talks JSON with one service.

    Args:
        service: its name in messages, "Dumont API".
        url: its address, without a path.
        advice: what to do when nobody answers there, as a sentence.
        token: sent as `Authorization: Bearer`.
        timeout: seconds for one request, unless the call brings its own.
        pauses: seconds between the tries, unless the service asks for others with `Retry-After`.
        pause: how to pause.
        transport: how requests are sent; tests bring their own.
    """

    def __init__(
        self,
        service: str,
        url: str,
        *,
        advice: str,
        token: SecretStr | None = None,
        timeout: float = 30.0,
        pauses: Sequence[float] = PAUSES,
        pause: Callable[[float], None] = time.sleep,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self.service = service
        self.url = _without_credentials(url)
        self._advice = advice
        self._timeout = timeout
        self._pauses = tuple(pauses)
        self._pause = pause
        self._secrets: list[SecretStr] = []
        self._token: SecretStr | None = None
        self._answered = threading.Event()
        self.clock = ServiceClock(service)
        self._client = httpx2.Client(
            base_url=url.rstrip("/"),
            # A proxy from the environment must not see what is meant for this machine.
            trust_env=not is_loopback(httpx2.URL(url).host),
            # Reading the system's certificates takes a tenth of a second, for nothing where there is no TLS.
            verify=httpx2.URL(url).scheme != "http" or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            limits=httpx2.Limits(max_connections=None, keepalive_expiry=KEEP_ALIVE),
            transport=transport,
        )
        if token:
            self.authorize(token)

    def __repr__(self) -> str:
        return f"JsonClient({self.service!r}, {self.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def authorize(self, token: SecretStr) -> None:
        """From now on requests carry this bearer token."""
        self.hide(token)
        self._token = token

    def hide(self, secret: SecretStr) -> None:
        """Error texts of the service that repeat this secret are blotted out."""
        if secret.get_secret_value():
            self._secrets.append(secret)

    def close(self) -> None:
        self._client.close()

    def get(self, path: str, *, params: Mapping[str, Any] | None = None, timeout: float | None = None) -> Json:
        return self.request("GET", path, params=params, timeout=timeout)

    def post(
        self, path: str, body: Json = None, *, params: Mapping[str, Any] | None = None, timeout: float | None = None
    ) -> Json:
        return self.request("POST", path, body=body, params=params, timeout=timeout)

    def put(self, path: str, body: Json = None, *, timeout: float | None = None) -> Json:
        return self.request("PUT", path, body=body, timeout=timeout)

    def delete(self, path: str, body: Json = None, *, timeout: float | None = None) -> Json:
        return self.request("DELETE", path, body=body, timeout=timeout)

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Json = None,
        params: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Json:
        """Sends one request, again where that is safe, and returns the JSON of the answer (None when it is empty).

        Tried again: 429 whatever the method, because it was refused and nothing happened; a lost connection, a
        time-out, 502, 503 and 504 only for methods that can be repeated. A POST without an answer is never repeated.

        Args:
            method: in capitals.
            path: from the root of the service.
            body: sent as JSON unless None.
            params: the query; None values are left out, lists and objects go as JSON.
            timeout: seconds for one try.

        Raises:
            Refused, RateLimited, NotReachable, AnswerLost, Unknown: see the module.
        """
        what = f"{method} {path}"
        seconds = timeout or self._timeout
        pauses = iter(self._pauses)
        tries = 0
        while True:
            tries += 1
            next_pause = next(pauses, None)
            try:
                answer = self._client.request(
                    method,
                    path,
                    json=body,
                    params=_query(params),
                    timeout=seconds,
                    headers={"Authorization": f"Bearer {self._token.get_secret_value()}"} if self._token else None,
                )
            except httpx2.RequestError as error:
                if method not in REPEATABLE or next_pause is None:
                    raise self._no_answer(what, error, seconds, tries) from None
                self._pause(next_pause)
                continue
            self._answered.set()
            if "age" not in answer.headers:  # a cached answer has an old date
                self.clock.read(answer.headers.get("date"))
            again = answer.status_code == 429 or (answer.status_code in GATEWAY_TROUBLE and method in REPEATABLE)
            if not again or next_pause is None:
                return self._read(what, answer, tries)
            self._pause(_retry_after(answer, next_pause))

    def _no_answer(self, what: str, error: httpx2.RequestError, seconds: float, tries: int) -> RekindleError:
        times = "" if tries == 1 else f" ({tries} tries)"
        if not isinstance(error, NOT_SENT):
            reason = f"no answer within {seconds:g} s" if isinstance(error, httpx2.TimeoutException) else _words(error)
            return AnswerLost(
                f"The answer of {self.service} at {self.url} to {what} was lost: {reason}{times}. "
                "It may or may not have been obeyed."
            )
        reason = f"no connection within {seconds:g} s" if isinstance(error, httpx2.ConnectTimeout) else _words(error)
        if self._answered.is_set():
            return Unknown(
                f"{self.service} at {self.url} answered before, but not to {what}: {reason}{times}. "
                "Is it still running?"
            )
        return NotReachable(f"{self.service} at {self.url} is not reachable: {reason}{times}. {self._advice}")

    def _read(self, what: str, answer: httpx2.Response, tries: int) -> Json:
        status = answer.status_code
        times = "" if tries == 1 else f" after {tries} tries"
        if answer.is_success:
            if not answer.content:
                return None
            try:
                return answer.json()
            except ValueError:
                raise Unknown(
                    f"{self.service} answered {what} with {status}, but not with JSON: {self._excerpt(answer)} "
                    f"Is {self.url} the address of the API?"
                ) from None
        if answer.is_redirect:
            text = self._one_line(f"it wants us to go to {answer.headers.get('location', 'an unnamed place')}")
        else:
            text = self._error_text(answer)
        if status == 429:
            raise RateLimited(
                f"rate limited: {self.service} refused {what} with 429{times}: {text} "
                "Wait some minutes, or run fewer machines at once."
            )
        kind = StorageFull if status == STORAGE_FULL else Refused
        raise kind(f"{self.service} refused {what} with {status}{times}: {text}", status, text)

    def _error_text(self, answer: httpx2.Response) -> str:
        """The words of an error answer, whatever its form, as one line that ends with a full stop."""
        try:
            envelope = answer.json()
        except ValueError:
            return self._excerpt(answer)
        return self._one_line(_envelope_text(envelope) or "no reason given")

    def _excerpt(self, answer: httpx2.Response) -> str:
        return self._one_line(answer.text.strip() or "an empty body")

    def _one_line(self, text: str) -> str:
        text = " ".join(text.split())
        for secret in self._secrets:
            text = text.replace(secret.get_secret_value(), "***")
        if len(text) > 600:
            text = text[:600] + "…"
        return text if text.endswith((".", "!", "?", "…")) else text + "."


class Habits(TypedDict, total=False):
    """How requests are sent: the arguments of `JsonClient` that tests, and those in a hurry, bring along."""

    pauses: Sequence[float]
    pause: Callable[[float], None]
    transport: httpx2.BaseTransport | None


class ServiceClient:
    """One user's view of one service: what the clients of all services have in common.

    A subclass says how messages name it.

    Attributes:
        service: its name, "Market API".
        asked: whom one asks there, "The market".
        address: the variable that holds its address, "VAST_URL".
        credential: what it lets us in by, "key".
        credentials: the variables that hold it, "VAST_API_KEY".
    """

    service: str
    asked: str
    address: str
    credential: str
    credentials: str

    def __init__(self, url: str, token: str | None = None, **habits: Unpack[Habits]) -> None:
        """`token` is sent as `Authorization: Bearer`; pauses are in seconds."""
        self._http = JsonClient(
            self.service,
            url,
            advice=f"Is it running? Is {self.address} its address?",
            token=SecretStr(token) if token else None,
            **habits,
        )
        self._http.clock.owner = self.asked.replace("The ", "the ", 1)

    @property
    def clock(self) -> ServiceClock:
        """The service's clock, as its answers show it."""
        return self._http.clock

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._http.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def _cannot_tell(self, what: str, refused: Refused) -> Unknown | Misconfigured:
        """The error for a question that was refused."""
        if refused.status in {401, 403}:
            return self._kept_out(refused)
        return Unknown(f"It cannot be told {what}: {refused}")

    def _kept_out(self, refused: Refused) -> Misconfigured:
        """The error for a credential that was refused."""
        return Misconfigured(
            f"{self.asked} at {self._http.url} refused the {self.credential}: {refused.text} Check {self.credentials}."
        )


def is_loopback(host: str) -> bool:
    """Whether a host, by name or by address, is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _envelope_text(envelope: Json) -> str:
    """Reads what an error answer says, in any of its forms.

    `error`, `detail` or `msg` hold the same text, or a code and its explanation; a validation error names its fields
    beside. What is never read is the input that it repeats.
    """
    if isinstance(envelope, list):
        return "; ".join(filter(None, map(_envelope_text, envelope)))
    if not isinstance(envelope, dict):
        return str(envelope or "")
    said = [
        _envelope_text(envelope.get(key))
        for key in ("error", "detail", "msg", "message")
        if envelope.get(key) is not True
    ]
    details = envelope.get("details")
    if isinstance(details, str | list):
        said.append(_envelope_text(details))
    if where := envelope.get("loc"):
        said.insert(0, ".".join(map(str, where)))
    return ": ".join(dict.fromkeys(filter(None, said)))


def _words(error: httpx2.RequestError) -> str:
    """The operating system's words without its number: "Connection refused"."""
    text = str(error).rstrip(".") or type(error).__name__
    _, found, rest = text.partition("] ")
    return (rest if found and text.startswith("[Errno") else text).lower()


def _retry_after(answer: httpx2.Response, otherwise: float) -> float:
    """Seconds the service asks us to wait, at most a minute; a date or nonsense counts as not said."""
    try:
        asked = float(answer.headers["retry-after"])
    except (KeyError, ValueError):
        return otherwise
    return min(asked, LONGEST_RETRY_AFTER) if asked >= 0 else otherwise


def _query(params: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if params is None:
        return None
    return {
        name: json_codec.dumps(value) if isinstance(value, dict | list) else value
        for name, value in params.items()
        if value is not None
    }


def proxies_for(url: str) -> dict[str, str]:
    """Return the user's proxies for an address, as `requests` takes them; none for this machine."""
    if is_loopback(httpx2.URL(url).host):
        return {}
    from requests.utils import get_environ_proxies  # noqa: PLC0415 - RequestsLibrary has imported it already

    return dict(get_environ_proxies(url))


def _without_credentials(url: str) -> str:
    return str(httpx2.URL(url.rstrip("/")).copy_with(userinfo=b""))
