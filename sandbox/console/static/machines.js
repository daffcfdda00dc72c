// The machines: a card each, kept in step with the API. One card at a time shows its details.

import "./frame.js";
import { call, get, post } from "./api.js";
import { followFailover, onFailoverOver, showPastFailover } from "./failover.js";
import { migrate } from "./migrate.js";
import { restoreOnto } from "./restore.js";
import { watchSnapshot } from "./snapshots.js";
import {
  ask, busy, byTestId, bytes, complain, copyOf, count, gigabytes, keepDoing, moment, percent, say, seconds, setAlert,
  setNumber, setText, usdAnHour,
} from "./view.js";

const LOOK_EVERY = 1000; // ms
const STATES = {
  running: ["Online", "good"],
  loading: ["Inicializando", "busy"],
  created: ["Criando", "busy"],
  exited: ["Parada", "off"],
  stopped: ["Parada", "off"],
  paused: ["Pausada", "off"],
  offline: ["Offline", "bad"],
  error: ["Erro", "bad"],
};
const JOBS = {
  hibernating: ["Hibernando", "busy"],
  hibernated: ["Hibernada", "off"],
  deleted: ["Hibernada", "off"],
  waking: ["Acordando", "busy"],
};
const STANDBY = {
  provisioning: ["Provisionando…", "busy"],
  syncing: ["Sincronizando…", "busy"],
  ready: ["Pronto para failover", "good"],
  failover_active: ["Failover ativo", "busy"],
  recovering: ["Recuperando…", "busy"],
  error: ["Erro", "bad"],
  disabled: ["Desligado", "off"],
};
const ACTIVITIES = { snapshot: "Criando snapshot", restore: "Restaurando" };

const cards = new Map(); // instance id -> card
const machines = new Map(); // instance id -> { row, agent, standby, failover }
const ended = new Set(); // machines that were destroyed or hibernated from this page

const look = keepDoing(async () => {
  const [listed, agents, standbys, failovers] = await Promise.allSettled([
    get("/instances"),
    get("/agent/instances"),
    get("/standby/associations"),
    get("/standby/failover/active"),
  ]);
  const failed = [listed, agents, standbys, failovers].filter((one) => one.status === "rejected");
  const reasons = [...new Set(failed.map((one) => one.reason.message))].join(" ");
  setAlert(byTestId("machines-error"), reasons && `O que se vê aqui pode não ser atual: ${reasons}`);
  for (const event of failovers.value?.failovers ?? []) followFailover(event.failover_id);
  if (listed.status === "rejected" || agents.status === "rejected") return; // the last known machines stay
  const seen = gather(listed.value.instances, agents.value, standbys.value, failovers.value);
  for (const id of [...machines.keys()].filter((one) => !seen.has(one))) remove(id);
  for (const [id, machine] of seen) show(id, machine);
  const many = seen.size === 1 ? "1 máquina" : `${seen.size} máquinas`;
  setText(byTestId("machines-status"), seen.size ? many : "Nenhuma máquina");
}, LOOK_EVERY);

onFailoverOver(look);
window.addEventListener("hashchange", () => openDetails(idInAddress()));
byTestId("restore-onto-new").addEventListener("click", async (event) => {
  await busy(event.target, () => restoreOnto(null));
  look();
});

/** All machines, newest first: those that the market has, and those that sleep in a snapshot. */
function gather(rows, agents, standbys, failovers) {
  const found = new Map();
  const by = (list, key) => new Map((list ?? []).map((one) => [Number(one[key]), one]));
  const agentOf = by(agents, "instance_id");
  const failoverOf = by(failovers?.failovers, "gpu_instance_id");
  const add = (id, row) =>
    found.set(id, {
      row,
      agent: agentOf.get(id) ?? null,
      standby: standbys ? (standbys.associations[id] ?? null) : (machines.get(id)?.standby ?? null),
      standbyKnown: Boolean(standbys),
      failover: failoverOf.get(id) ?? null,
    });
  for (const row of rows) add(row.id, row);
  for (const [id, agent] of agentOf) {
    if (!found.has(id) && agent.status in JOBS) add(id, null);
  }
  return new Map([...found].sort(([one], [other]) => other - one));
}

function show(id, machine) {
  machines.set(id, machine);
  if (!cards.has(id)) create(id);
  update(cards.get(id), id, machine);
}

async function remove(id) {
  const { standby } = machines.get(id);
  machines.delete(id);
  cards.get(id).remove();
  cards.delete(id);
  if (ended.has(id) || !standby) return;
  // It was protected and nobody here ended it: perhaps it failed over between two looks.
  try {
    const { history } = await get("/standby/failover/report?days=1");
    const event = history.find((one) => Number(one.gpu_instance_id) === id);
    if (event) showPastFailover(event);
  } catch (error) {
    complain(`A máquina ${id} sumiu, e o relatório de failover não pôde ser lido: ${error.message}`);
  }
}

function create(id) {
  const card = copyOf("machine");
  const opener = byTestId("open-details", card);
  card.dataset.testid = `machine-card-${id}`;
  card.dataset.instanceId = id;
  byTestId("machine-details", card).id = `details-${id}`;
  opener.setAttribute("aria-controls", `details-${id}`);
  opener.id = `title-${id}`;
  card.setAttribute("aria-labelledby", opener.id);
  card.addEventListener("click", (event) => {
    const opened = opener.getAttribute("aria-expanded") === "true";
    if (opened && !opener.contains(event.target)) return;
    history.replaceState(null, "", opened ? location.pathname : `#${id}`);
    openDetails(opened ? null : id);
  });
  byTestId("standby-switch", card).addEventListener("change", (event) => switchStandby(id, event.target));
  for (const button of card.querySelectorAll("[data-action]")) {
    button.addEventListener("click", () => act(id, button));
  }
  cards.set(id, card);
  // Newest first: before the first card with a smaller id.
  const older = [...byTestId("machines").children].find((other) => Number(other.dataset.instanceId) < id);
  byTestId("machines").insertBefore(card, older ?? null);
  if (idInAddress() === id) openDetails(id);
}

const idInAddress = () => Number(location.hash.slice(1)) || null;

function openDetails(id) {
  for (const [one, card] of cards) {
    const opened = one === id;
    byTestId("open-details", card).setAttribute("aria-expanded", opened);
    byTestId("machine-details", card).hidden = !opened;
    card.classList.toggle("opened", opened);
    if (opened) card.scrollIntoView({ block: "nearest" });
  }
}

function update(card, id, { row, agent, standby, standbyKnown, failover }) {
  const label = row?.label ?? agent?.label;
  const [state, kind] = stateOf(row, agent, failover);
  setText(byTestId("open-details", card), label || `Máquina ${id}`);
  showBadge(byTestId("machine-status", card), state, kind);
  card.dataset.state = failover ? "failover" : (row?.actual_status ?? agent?.status);
  setText(byTestId("machine-gpu", card), gpu(row, agent));
  setNumber(byTestId("machine-price", card), row?.dph_total, usdAnHour);
  setText(byTestId("machine-place", card), row?.geolocation ?? "");
  const brief = standby ? `CPU Standby: ${STANDBY[standby.state]?.[0] ?? standby.state}` : "";
  setText(byTestId("machine-standby", card), row ? brief || (standbyKnown ? "Sem CPU Standby" : "") : brief);
  setAlert(byTestId("machine-error", card), agent?.error);
  showActivity(card, row?.progress);
  showFacts(card, id, row, agent);
  showStandby(card, row, standby, standbyKnown);
  showActions(card, row, agent, failover);
}

function stateOf(row, agent, failover) {
  if (failover) return ["Failover", "busy"];
  if (agent && agent.status in JOBS && !(row && agent.status === "hibernated")) return JOBS[agent.status];
  return STATES[row?.actual_status] ?? [row?.actual_status ?? "Desconhecida", "busy"];
}

function gpu(row, agent) {
  const name = row?.gpu_name ?? agent?.gpu_name;
  if (!name) return "";
  const many = row?.num_gpus ?? 1;
  return many > 1 ? `${many} × ${name}` : name;
}

function showBadge(badge, text, kind) {
  setText(badge, text);
  badge.dataset.kind = kind;
}

function showActivity(card, progress) {
  const place = byTestId("machine-activity", card);
  place.hidden = !progress;
  if (!progress) return;
  const { bytes_done: done, bytes_total: total } = progress;
  const amount = total == null ? "" : `: ${bytes(done)} de ${bytes(total)}`;
  setText(byTestId("activity-text", card), `${ACTIVITIES[progress.activity] ?? progress.activity}${amount}`);
  const bar = byTestId("activity-progress", card);
  if (total) [bar.max, bar.value] = [total, done];
  else bar.removeAttribute("value");
}

function showFacts(card, id, row, agent) {
  const set = (testid, text) => {
    const place = byTestId(testid, card);
    setText(place, text ?? "");
    place.closest("dl > div").hidden = !text;
  };
  set("instance-id", String(id));
  set("ssh-command", row?.ssh_port && `ssh -p ${row.ssh_port} root@${row.ssh_host}`);
  set("machine-disk", row?.disk_space && gigabytes(row.disk_space));
  set("machine-gpu-ram", row?.gpu_ram && gigabytes(row.gpu_ram / 1024));
  set("machine-gpu-util", row && agent?.gpu_utilization != null && percent(agent.gpu_utilization));
  set("machine-start", row?.start_date && moment(row.start_date));
  set("machine-hibernation", hibernation(agent));
  set("machine-snapshot", agent?.snapshot_id);
}

function hibernation(agent) {
  if (!agent) return null;
  if (agent.hibernated_at && agent.status in JOBS) return `desde ${moment(agent.hibernated_at)}`;
  if (!agent.auto_hibernation_enabled) return "desligada";
  if (agent.will_hibernate_at) return `ociosa; hiberna em ${moment(agent.will_hibernate_at)}`;
  return `após ${seconds(agent.idle_timeout_seconds)} sem uso da GPU`;
}

function showStandby(card, row, standby, known) {
  byTestId("standby", card).hidden = !row && !standby;
  const control = byTestId("standby-switch", card);
  if (!control.dataset.busy) {
    control.checked = Boolean(standby) && standby.state !== "disabled";
    control.disabled = !known;
  }
  const [text, kind] = standby ? (STANDBY[standby.state] ?? [standby.state, "busy"]) : ["Desligado", "off"];
  showBadge(byTestId("standby-state", card), known ? text : "Desconhecido", known ? kind : "bad");
  byTestId("standby-state", card).dataset.state = standby?.state ?? "none";
  const facts = byTestId("standby-facts", card);
  facts.hidden = !standby;
  setAlert(byTestId("standby-error", card), standby?.sync_error ?? standby?.error);
  if (!standby) return;
  const machine = standby.cpu_standby;
  setText(byTestId("standby-name", card), [machine.name, machine.machine_type].filter(Boolean).join(" · "));
  setText(byTestId("standby-zone", card), machine.zone ?? "");
  setText(byTestId("standby-ssh", card), machine.ssh_port ? `ssh -p ${machine.ssh_port} root@${machine.ip}` : "");
  setNumber(byTestId("standby-price", card), machine.hourly_usd, usdAnHour);
  setText(byTestId("standby-sync-count", card), count(standby.sync_count));
  setNumber(byTestId("standby-lag", card), standby.lag_seconds, seconds);
  for (const item of facts.children) item.hidden = !item.querySelector("dd").textContent;
}

function showActions(card, row, agent, failover) {
  const asleep = !row && ["hibernated", "deleted"].includes(agent?.status);
  const atWork = Boolean(failover) || ["hibernating", "waking"].includes(agent?.status);
  const runs = row?.actual_status === "running" && !atWork;
  for (const button of card.querySelectorAll("[data-action]")) {
    const { action } = button.dataset;
    button.hidden = action === "wake" ? row !== null : row === null;
    if (button.dataset.busy) continue;
    if (action === "wake") button.disabled = !asleep;
    else if (action === "destroy") button.disabled = false;
    else button.disabled = !runs;
  }
  byTestId("failover-hint", card).hidden = !row;
}

/** The switch shows what is true: it turns when the API has done so. */
async function switchStandby(id, control) {
  const on = control.checked;
  control.checked = !on;
  control.dataset.busy = "true";
  control.disabled = true;
  try {
    await post(`/standby/${id}/${on ? "enable" : "disable"}`, {});
    say(on ? `O CPU Standby da máquina ${id} está sendo criado.` : `O CPU Standby da máquina ${id} foi destruído.`);
  } catch (error) {
    complain(`CPU Standby: ${error.message}`);
  } finally {
    delete control.dataset.busy;
    await look();
    control.focus();
  }
}

const ACTIONS = {
  async failover(id) {
    const begun = await post(`/standby/${id}/simulate-failover`, { reason: "spot_interruption" });
    followFailover(begun.failover_id, { focus: true });
  },
  async snapshot(id) {
    const ordered = await post(`/instances/${id}/snapshot`, {});
    say(`O snapshot ${ordered.name} está sendo criado.`);
    watchSnapshot(id, ordered.name);
  },
  async restore(id) {
    await restoreOnto(id);
  },
  async hibernate(id) {
    ended.add(id);
    const done = await post(`/instances/${id}/hibernate`);
    say(`A máquina ${id} hiberna no snapshot ${done.snapshot_id} (${seconds(done.time_taken)}).`);
  },
  async wake(id) {
    const woken = await post(`/instances/${id}/wake`, {});
    say(`A máquina ${id} acordou como ${woken.new_instance_id} (${seconds(woken.time_taken)}).`);
  },
  async migrate(id) {
    await migrate(id, machines.get(id).row);
  },
  async destroy(id) {
    const dialog = byTestId("destroy-dialog");
    const { row } = machines.get(id);
    setText(byTestId("destroy-what"), `${row.label || `Máquina ${id}`} · ${row.gpu_name} · ID ${id}`);
    if ((await ask(dialog)) !== "confirm") return;
    ended.add(id);
    await call("DELETE", `/instances/${id}`);
    say(`A máquina ${id} foi destruída.`);
  },
};

async function act(id, button) {
  await busy(button, () => ACTIONS[button.dataset.action](id));
  await look();
}
