"""Offers: from the API's wishes to the market's filter language, and back."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field, JsonValue

from sandbox.control.market_client import MarketClient

REGIONS = {
    "US": {"US", "CA", "UNITED STATES", "CANADA", "NORTH AMERICA"},
    "EU": {
        "AT",
        "BE",
        "BG",
        "CH",
        "CZ",
        "DE",
        "DK",
        "EE",
        "ES",
        "FI",
        "FR",
        "GB",
        "GR",
        "HU",
        "IE",
        "IS",
        "IT",
        "LT",
        "LV",
        "NL",
        "NO",
        "PL",
        "PT",
        "RO",
        "SE",
        "SI",
        "SK",
        "UA",
        "UK",
    },
    "ASIA": {"AE", "CN", "HK", "ID", "IL", "IN", "JP", "KR", "KZ", "MY", "PH", "SG", "TH", "TR", "TW", "VN"},
}
MOST = 1000  # offers asked for when the region is chosen here


class OfferQuery(BaseModel):
    """The query of `GET /instances/offers`. Memory and disk in GB, network in Mbps, price in USD an hour."""

    gpu_name: str | None = None
    num_gpus: int = Field(default=1, ge=0, le=8)
    min_gpu_ram: float = 0
    min_cpu_cores: float = 1
    min_cpu_ram: float = 1
    min_disk: float = 50
    min_inet_down: float = 100
    min_inet_up: float = 0
    max_price: float = 10.0
    min_reliability: float = Field(default=0, ge=0, le=1)
    region: str | None = None
    verified_only: bool = False
    static_ip: bool = False
    cuda_version: float | None = None
    machine_type: Literal["on-demand", "interruptible", "bid"] | None = None
    order_by: str = "dph_total"
    limit: int = Field(default=50, ge=0, le=100)

    def market_filter(self) -> dict[str, JsonValue]:
        wanted: dict[str, JsonValue] = {
            "rentable": {"eq": True},
            "num_gpus": {"eq": self.num_gpus},
            "disk_space": {"gte": self.min_disk},
            "dph_total": {"lte": self.max_price},
        }
        least = {
            "inet_down": self.min_inet_down,
            "inet_up": self.min_inet_up,
            "gpu_ram": self.min_gpu_ram * 1024,
            "cpu_cores_effective": self.min_cpu_cores if self.min_cpu_cores > 1 else 0,
            "cpu_ram": self.min_cpu_ram * 1024 if self.min_cpu_ram > 1 else 0,
            "reliability2": self.min_reliability,
            "cuda_max_good": self.cuda_version,
        }
        wanted |= {field: {"gte": value} for field, value in least.items() if value}
        wanted |= {"verified": {"eq": True}} if self.verified_only else {}
        wanted |= {"static_ip": {"eq": True}} if self.static_ip else {}
        wanted |= {"gpu_name": {"eq": self.gpu_name.replace("_", " ")}} if self.gpu_name else {}
        return wanted


class Offer(BaseModel):
    """An offer as the API shows it."""

    id: int
    gpu_name: str | None = None
    num_gpus: int
    gpu_ram: float
    cpu_cores: float | None = None
    cpu_ram: float | None = None
    disk_space: float
    inet_down: float | None = None
    inet_up: float | None = None
    dph_total: float
    geolocation: str | None = None
    reliability: float | None = None
    cuda_version: str | None = None
    verified: bool = False
    static_ip: bool = False
    machine_id: str | None = None
    storage_cost: float | None = None
    is_blacklisted: bool = False
    blacklist_reason: str | None = None
    success_rate: float | None = None
    total_attempts: int = 0
    reliability_status: str | None = None


async def search(market: MarketClient, query: OfferQuery) -> list[Offer]:
    """The offers that match, in the order asked for (cheapest first by default)."""
    found = await market.offers(
        query.market_filter(),
        order=query.order_by,
        kind=query.machine_type or "on-demand",
        limit=MOST if query.region else query.limit,
    )
    offers = [_offer(row) for row in found if query.region is None or _lies_in(query.region, row.get("geolocation"))]
    return offers[: query.limit]


async def find(market: MarketClient, offer_id: int) -> Offer | None:
    """An offer by its id; None when it is not on the market (any more)."""
    found = await market.offers({"id": {"eq": offer_id}}, order="dph_total", kind="on-demand", limit=1)
    return _offer(found[0]) if found else None


async def why_none(market: MarketClient, query: OfferQuery) -> str:
    """Why no offer matches, and what the price would have to be."""
    at_any_price = await search(market, query.model_copy(update={"max_price": 1e6, "limit": 1}))
    what = f"No offer with {query.gpu_name or 'any GPU'}, {query.min_disk:g} GB of disk"
    what += f" in {query.region}" if query.region else ""
    if not at_any_price:
        return f"{what}: none at any price"
    return f"{what} up to {query.max_price:g} USD/h: the cheapest costs {at_any_price[0].dph_total:.4f} USD/h"


def _lies_in(region: str, geolocation: object) -> bool:
    """By the parts of "Sweden, SE". A region is one of REGIONS, a country or a country code."""
    parts = {part.strip().upper() for part in str(geolocation or "").split(",")}
    return bool(parts & REGIONS.get(region.upper(), {region.upper()}))


def _offer(row: dict[str, Any]) -> Offer:
    gpu_ram, cpu_ram = row.get("gpu_ram") or 0, row.get("cpu_ram") or 0
    shown = row | {
        "gpu_ram": gpu_ram / 1024 if gpu_ram > 100 else gpu_ram,
        "cpu_ram": cpu_ram / 1024 if cpu_ram > 100 else cpu_ram,
        "reliability": row.get("reliability2"),
        "cuda_version": _text(row.get("cuda_max_good")),
        "machine_id": _text(row.get("machine_id")),
        "verified": bool(row.get("verified") or row.get("verification") == "verified"),
        "static_ip": bool(row.get("static_ip")),
    }
    return Offer.model_validate(shown)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
