// The machines: a card each, kept in step with the API. One card at a time shows its details.

import "./frame.js";
import { call, get, post } from "./api.js";
import { followFailover, listenToFailovers } from "./failover.js";
import { migrate } from "./migrate.js";
import { restoreOnto } from "./restore.js";
import { watchSnapshot } from "./snapshots.js";
import {
  ask, busy, byTestId, bytes, complain, copyOf, count, gigabytes, keepDoing, moment, onClick, percent, say, seconds,
  setAlert, setNumber, setText, usdAnHour,
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
// Rented by Dumont Cloud, and not (yet) a machine that its user can work on.
const NOT_YET = { race: ["Concorrendo", "busy"], replaces: ["Assumindo", "busy"], warm_for: ["Reserva", "off"] };
const JOBS = {
  failing_over: ["Failover", "busy"],
  lost: ["Perdida", "bad"],
  migrating: ["Migrando", "busy"],
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
const ASLEEP = ["hibernating", "hibernated", "deleted", "waking"]; // shown although the market has no such machine
const ACTIVITIES = { snapshot: "Criando snapshot", restore: "Restaurando" };

const cards = new Map(); // instance id -> card
const machines = new Map(); // instance id -> { row, agent, standby, standbyKnown }

const look = keepDoing(async () => {
  const [listed, agents, standbys] = await Promise.allSettled([
    get("/instances"),
    get("/agent/instances"),
    get("/standby/associations"),
  ]);
  const failed = [listed, agents, standbys].filter((one) => one.status === "rejected");
  const reasons = [...new Set(failed.map((one) => one.reason.message))].join(" ");
  setAlert(byTestId("machines-error"), reasons && `O que se vê aqui pode não ser atual: ${reasons}`);
  if (listed.status === "rejected" || agents.status === "rejected") return; // the last known machines stay
  const seen = gather(listed.value.instances, agents.value, standbys.value);
  for (const id of [...machines.keys()].filter((one) => !seen.has(one))) remove(id);
  for (const [id, machine] of seen) show(id, machine);
  const own = [...seen.values()].filter(({ row }) => !notYet(row)).length;
  setText(byTestId("machines-status"), own ? (own === 1 ? "1 máquina" : `${own} máquinas`) : "Nenhuma máquina");
}, LOOK_EVERY);

listenToFailovers((event) => wasReplaced(event.gpu_instance_id, event));
window.addEventListener("hashchange", () => openDetails(idInAddress()));
onClick(byTestId("restore-onto-new"), async (event) => {
  await busy(event.target, () => restoreOnto(null));
  look();
});

/** Who looked at the old machine looks at the one in its place. */
function wasReplaced(id, { success, new_instance_id: newId }) {
  if (success && newId && idInAddress() === id) {
    history.replaceState(null, "", `#${newId}`);
    openDetails(newId);
  }
  look();
}

/** All machines, newest first: those that the market has, and those that sleep in a snapshot. */
function gather(rows, agents, standbys) {
  const found = new Map();
  const agentOf = new Map(agents.map((one) => [Number(one.instance_id), one]));
  const add = (id, row) =>
    found.set(id, {
      row,
      agent: agentOf.get(id) ?? null,
      standby: standbys ? (standbys.associations[id] ?? null) : (machines.get(id)?.standby ?? null),
      standbyKnown: Boolean(standbys),
    });
  for (const row of rows) add(row.id, row);
  for (const [id, agent] of agentOf) if (!found.has(id) && ASLEEP.includes(agent.status)) add(id, null);
  return new Map([...found].sort(([one], [other]) => other - one));
}

function show(id, machine) {
  machines.set(id, machine);
  if (!cards.has(id)) create(id);
  update(cards.get(id), id, machine);
}

function remove(id) {
  machines.delete(id);
  cards.get(id).remove();
  cards.delete(id);
}

function create(id) {
  const card = copyOf("machine");
  const opener = byTestId("open-details", card);
  card.dataset.testid = `machine-card-${id}`;
  card.dataset.instanceId = id;
  card.details = byTestId("machine-details", card); // in the page only while it is open
  card.details.id = `details-${id}`;
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
  card.details.remove();
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
    if (opened) card.append(card.details);
    else card.details.remove();
    card.classList.toggle("opened", opened);
    if (opened) card.scrollIntoView({ block: "nearest" });
  }
}

function update(card, id, { row, agent, standby, standbyKnown }) {
  const label = row?.label ?? agent?.label;
  const [state, kind] = stateOf(row, agent);
  setText(byTestId("open-details", card), label || `Máquina ${id}`);
  showBadge(byTestId("machine-status", card), state, kind);
  card.dataset.state = row?.failover ? "failover" : (notYet(row) ?? row?.actual_status ?? agent?.status);
  setText(byTestId("machine-gpu", card), gpu(row, agent));
  setNumber(byTestId("machine-price", card), row?.dph_total, usdAnHour);
  setText(byTestId("machine-place", card), row?.geolocation ?? "");
  const brief = standby ? `CPU Standby: ${STANDBY[standby.state]?.[0] ?? standby.state}` : "";
  setText(byTestId("machine-standby", card), row ? brief || (standbyKnown ? "Sem CPU Standby" : "") : brief);
  setAlert(byTestId("machine-error", card), agent?.error);
  showActivity(card, row?.progress);
  showFacts(card.details, id, row, agent);
  showStandby(card.details, row, standby, standbyKnown);
  showActions(card.details, row, agent);
}

/** Why a machine at the market is none that its user has: a key of NOT_YET; undefined when it is his. */
const notYet = (row) => row && Object.keys(NOT_YET).find((why) => row[why]);

function stateOf(row, agent) {
  if (notYet(row)) return NOT_YET[notYet(row)];
  if (row?.failover) return ["Failover", "busy"];
  const job = agent && (row === null || !["hibernated", "deleted"].includes(agent.status)) && JOBS[agent.status];
  return job || STATES[row?.actual_status] || [row?.actual_status ?? "Desconhecida", "busy"];
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

function showFacts(details, id, row, agent) {
  const set = (testid, text) => {
    const place = byTestId(testid, details);
    setText(place, text ?? "");
    place.closest("dl > div").hidden = !text;
  };
  set("instance-id", String(id));
  set("ssh-command", row?.ssh_port && `ssh -p ${row.ssh_port} root@${row.ssh_host}`);
  set("machine-disk", row?.disk_space && gigabytes(row.disk_space));
  set("machine-gpu-ram", row?.gpu_ram && gigabytes(row.gpu_ram / 1024));
  set("machine-gpu-util", row && agent?.gpu_utilization != null && percent(agent.gpu_utilization));
  set("machine-role", role(row));
  set("machine-start", row?.start_date && moment(row.start_date));
  set("machine-hibernation", hibernation(agent));
  set("machine-snapshot", agent?.snapshot_id);
}

function role(row) {
  if (row?.race) return "concorre com outras: fica a primeira que responder, e as demais são destruídas";
  if (row?.replaces) return `toma o lugar da máquina ${row.replaces}; ainda não tem tudo`;
  return row?.warm_for ? `espera para tomar o lugar da máquina ${row.warm_for}` : null;
}

function hibernation(agent) {
  if (!agent) return null;
  if (agent.hibernated_at && agent.status in JOBS) return `desde ${moment(agent.hibernated_at)}`;
  if (!agent.auto_hibernation_enabled) return "desligada";
  if (agent.will_hibernate_at) return `ociosa; hiberna em ${moment(agent.will_hibernate_at)}`;
  return `após ${count(agent.idle_timeout_seconds)} s sem uso da GPU`;
}

function showStandby(details, row, standby, known) {
  byTestId("standby", details).hidden = !row && !standby;
  const control = byTestId("standby-switch", details);
  if (!control.dataset.busy) {
    control.checked = Boolean(standby) && standby.state !== "disabled";
    control.disabled = !known;
  }
  const [text, kind] = standby ? (STANDBY[standby.state] ?? [standby.state, "busy"]) : ["Desligado", "off"];
  showBadge(byTestId("standby-state", details), known ? text : "Desconhecido", known ? kind : "bad");
  byTestId("standby-state", details).dataset.state = standby?.state ?? "none";
  const facts = byTestId("standby-facts", details);
  facts.hidden = !standby;
  setAlert(byTestId("standby-error", details), standby?.sync_error ?? standby?.error);
  if (!standby) return;
  const machine = standby.cpu_standby;
  setText(byTestId("standby-name", details), [machine.name, machine.machine_type].filter(Boolean).join(" · "));
  setText(byTestId("standby-zone", details), machine.zone ?? "");
  setText(byTestId("standby-ssh", details), machine.ssh_port ? `ssh -p ${machine.ssh_port} root@${machine.ip}` : "");
  setNumber(byTestId("standby-price", details), machine.hourly_usd, usdAnHour);
  setText(byTestId("standby-sync-count", details), count(standby.sync_count));
  setNumber(byTestId("standby-lag", details), standby.lag_seconds, seconds);
  for (const item of facts.children) item.hidden = !item.querySelector("dd").textContent;
}

function showActions(details, row, agent) {
  const asleep = row === null && ["hibernated", "deleted"].includes(agent?.status);
  const atWork = Boolean(row?.failover) || ["hibernating", "waking", "failing_over", "migrating"].includes(agent?.status);
  const runs = row?.actual_status === "running" && !atWork && !notYet(row);
  const lost = agent?.status === "lost";
  for (const button of details.querySelectorAll("[data-action]")) {
    const { action } = button.dataset;
    button.hidden = (action === "wake") === (row !== null);
    if (button.dataset.busy) continue;
    button.disabled = !{ wake: asleep, destroy: true, failover: runs || (lost && !atWork) }[action] && !(runs && action !== "wake");
  }
  byTestId("failover-hint", details).hidden = !row;
  byTestId("wake-hint", details).hidden = Boolean(row);
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
    await followFailover(begun.failover_id);
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
    const done = await post(`/instances/${id}/hibernate`);
    say(`A máquina ${id} hiberna no snapshot ${done.snapshot_id} (${seconds(done.time_taken)}).`);
  },
  async wake(id) {
    const woken = await post(`/instances/${id}/wake`, { max_price: 1 });
    say(`A máquina ${id} acordou como ${woken.new_instance_id} (${seconds(woken.time_taken)}).`);
  },
  async migrate(id) {
    await migrate(id, machines.get(id).row, (migration) => wasReplaced(id, migration));
  },
  async destroy(id) {
    const dialog = byTestId("destroy-dialog");
    const { row } = machines.get(id);
    setText(byTestId("destroy-what"), `${row.label || `Máquina ${id}`} · ${row.gpu_name} · ID ${id}`);
    if ((await ask(dialog)) !== "confirm") return;
    await call("DELETE", `/instances/${id}`);
    say(`A máquina ${id} foi destruída.`);
  },
};

async function act(id, button) {
  await busy(button, () => ACTIONS[button.dataset.action](id));
  button.disabled = true; // until a look has told what can be done now
  await look();
}
