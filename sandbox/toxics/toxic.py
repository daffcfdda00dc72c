"""What can be wrong with one direction of a way. Names, attributes and units are those of Toxiproxy 2."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Stream = Literal["upstream", "downstream"]


class _Attributes(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Latency(_Attributes):
    """All data arrives `latency` ms later, give or take `jitter` ms."""

    latency: int = Field(0, ge=0)
    jitter: int = Field(0, ge=0)


class Bandwidth(_Attributes):
    """No more than `rate` KB pass in a second."""

    rate: int = Field(gt=0)


class SlowClose(_Attributes):
    """The connection stays open for `delay` ms after its end."""

    delay: int = Field(0, ge=0)


class Timeout(_Attributes):
    """Data is lost; after `timeout` ms without any the connection is closed. 0: when the toxic is taken away."""

    timeout: int = Field(0, ge=0)


class ResetPeer(_Attributes):
    """`timeout` ms after the first data, which is lost, the connection is reset (RST)."""

    timeout: int = Field(0, ge=0)


class Slicer(_Attributes):
    """Data comes in slices of `average_size` bytes, give or take `size_variation`, with `delay` µs between them."""

    average_size: int = Field(gt=0)
    size_variation: int = Field(0, ge=0)
    delay: int = Field(0, ge=0)


class LimitData(_Attributes):
    """The connection is closed when so many `bytes` have passed."""

    bytes: int = Field(ge=0)


Attributes = Latency | Bandwidth | SlowClose | Timeout | ResetPeer | Slicer | LimitData
Type = Literal["latency", "bandwidth", "slow_close", "timeout", "reset_peer", "slicer", "limit_data"]
ATTRIBUTES: dict[str, type[Attributes]] = dict(zip(get_args(Type), get_args(Attributes), strict=True))


class Toxic:
    """One toxic of one way. It never changes: a change puts another one into its place, which begins anew."""

    def __init__(self, name: str, type_: Type, stream: Stream, toxicity: float, attributes: Attributes) -> None:
        """`toxicity`: the share of the connections, from 0 to 1, that it acts on."""
        self.name = name
        self.type = type_
        self.stream = stream
        self.toxicity = toxicity
        self.attributes = attributes

    def public(self) -> dict[str, object]:
        return {
            "name": self.name,
            "type": self.type,
            "stream": self.stream,
            "toxicity": self.toxicity,
            "attributes": self.attributes.model_dump(),
        }
