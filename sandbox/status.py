"""`python -m sandbox status`: does the cloud live, what is rented in it, and what does that cost."""

from __future__ import annotations

from http.client import HTTPException

from sandbox.asking import Strange, market_rows
from sandbox.cloud import Cloud
from sandbox.page import login_address
from sandbox.parts import parts_of
from sandbox.state import CloudConfig, Secrets
from sandbox.supervisor import Standing, last_failure_file, standing


def report(cloud: Cloud) -> tuple[str, bool]:
    """The status in words, and whether the cloud is up and every part answers."""
    running = cloud.standing()
    if running is None:
        return _down(cloud), False
    config, keys = cloud.state.config(), cloud.state.secrets()
    lines = [f"The cloud in {cloud.state.root} is {_PHASES[running.phase]} since {running.since:%F %T}."]
    lines.append(f"Web page: {login_address(config)}")
    parts, answering = _parts(cloud, running, config, keys)
    lines += parts
    if trouble := cloud.bucket_trouble():
        lines.append(f"The bucket {keys.b2_bucket} is {trouble}. Mend it: {cloud.command('bucket')} usable")
    lines += [*_rented(config, keys), *_standbys(config, keys)] if running.phase == "ready" else []
    return "\n".join(lines), answering and running.phase == "ready"


_PHASES = {"ready": "up", "starting": "starting", "stopping": "stopping"}


def _down(cloud: Cloud) -> str:
    lines = [f"The cloud in {cloud.state.root} is down."]
    if not cloud.state.has_config():
        lines.append("There has never been one.")
    elif last_failure_file(cloud.state).exists():
        lines.append(f"It went down by itself. {last_failure_file(cloud.state).read_text().strip()}")
    elif standing(cloud.state):
        lines.append("Its supervisor has ended without a word: it was killed, or the computer was restarted.")
    if cloud.state.has_config():
        lines.append("What is rented in it cannot be asked now: its marketplace is down. Its state is kept.")
    lines.append(f"Start it: {cloud.command('up')}")
    return "\n".join(lines)


def _parts(cloud: Cloud, running: Standing, config: CloudConfig, keys: Secrets) -> tuple[list[str], bool]:
    lines, all_answer = [], True
    for part in parts_of(cloud.state, config, keys, store_command=[]):
        process = running.parts.get(part.name)
        if part.name in running.stopped:
            trouble: str | None = f"is stopped; start it: {cloud.command('start')} {part.name}"
        elif process is None or not process.is_alive():
            trouble = "is dead"
        else:
            try:
                trouble = part.trouble()
            except (OSError, HTTPException) as error:
                trouble = f"does not answer ({error})"
        all_answer = all_answer and trouble is None
        pid = f"process {process.pid}" if process else "no process"
        lines.append(f"  {part.name:<12} {part.url}  {pid:<15} {trouble or 'answers'}")
        if trouble:
            lines.append(f"    its log: {part.log}")
    return lines, all_answer


def _rented(config: CloudConfig, keys: Secrets) -> list[str]:
    """The machines of the account and what they cost, as the marketplace itself tells."""
    try:
        machines = list(market_rows(f"{config.market_url}/api/v1/instances/", "instances", keys.vast_api_key))
        charges = list(market_rows(f"{config.market_url}/api/v0/charges/", "results", keys.vast_api_key))
    except (OSError, HTTPException, Strange) as error:
        return [f"Machines and bill: unknown, the marketplace does not tell ({error})."]
    bill = sum(charge["amount"] for charge in charges)
    price = sum(machine["dph_total"] for machine in machines)
    lines = [f"Machines: {len(machines)} rented, {_usd(price, 3)} USD/h together. Bill so far: {_usd(bill, 4)} USD."]
    lines += [
        f"  {machine['id']}  {machine['gpu_name'] or 'CPU only':<14} {machine['actual_status'] or '-':<10} "
        f"{_usd(machine['dph_total'], 3)} USD/h  {machine['label'] or ''}"
        for machine in machines
    ]
    return lines


def _standbys(config: CloudConfig, keys: Secrets) -> list[str]:
    """The machines of the CPU cloud, by its bill; nothing when there has never been one."""
    url = f"{config.market_url}/gcp/billing/v1/projects/{keys.gcp_project}/charges"
    try:
        charges = list(market_rows(url, "charges", keys.gcp_access_token))
    except (OSError, HTTPException, Strange) as error:
        return [f"CPU machines: unknown, the CPU cloud does not tell ({error})."]
    if not charges:
        return []
    growing = [charge for charge in charges if charge["end"] is None]
    machines = sorted({charge["description"] for charge in growing})
    bill, price = sum(charge["amount"] for charge in charges), sum(charge["rate"] for charge in growing)
    return [
        f"CPU machines: {len(machines)}, {_usd(price, 3)} USD/h together. Bill so far: {_usd(bill, 4)} USD.",
        *(f"  {machine}" for machine in machines),
    ]


def _usd(usd: float, decimals: int) -> str:
    """Return an amount with this many decimals; six for a small one, so that it is not shown as nothing."""
    return f"{usd:.{6 if 0 < usd < 10 ** (1 - decimals) else decimals}f}"
