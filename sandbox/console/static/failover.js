// The progress panels: one for each failover, told by the API's server-sent events.

import { get } from "./api.js";
import { PHASES, REASONS, SOURCES, isOver, label } from "./phases.js";
import { byTestId, bytes, copyOf, count, fillFacts, seconds, setAlert, setNumber, setText } from "./view.js";

const RETRY = 1000; // ms
const panels = new Map(); // failover id -> panel
let whenOver = () => {};

/** Listens to all failovers, and opens a panel for each; `over` is given the event of each that has ended. */
export function listenToFailovers(over) {
  whenOver = over;
  const source = new EventSource("/api/v1/standby/failover/events");
  source.addEventListener("phase", (message) => take(JSON.parse(message.data)));
  source.addEventListener("error", () => {
    // The browser connects again by itself, unless it was refused. What has happened meanwhile is asked for.
    if (source.readyState === EventSource.CLOSED) setTimeout(() => listenToFailovers(over), RETRY);
    for (const [id, panel] of panels) if (panel.dataset.over !== "true") ask(id);
  });
}

/** Opens the panel of a failover that was ordered here. */
export async function followFailover(failoverId) {
  if (!panels.has(failoverId)) open(failoverId);
  panels.get(failoverId).querySelector("h2").focus();
  await ask(failoverId);
}

async function ask(failoverId) {
  try {
    take(await get(`/standby/failover/status/${encodeURIComponent(failoverId)}`));
  } catch (error) {
    const alert = byTestId("failover-error", panels.get(failoverId));
    setAlert(alert, `O andamento não pôde ser lido: ${error.message}`);
  }
}

function take(event) {
  if (!panels.has(event.failover_id)) open(event.failover_id);
  const panel = panels.get(event.failover_id);
  const shown = Number(panel.dataset.phases ?? 0);
  if (panel.dataset.over === "true" || event.phases.length < shown) return; // an answer that newer news have overtaken
  panel.dataset.phases = event.phases.length;
  show(panel, event);
  if (isOver(event)) whenOver(event);
}

function open(failoverId) {
  const panel = copyOf("progress-panel");
  panel.dataset.testid = "failover-progress-panel";
  panel.dataset.failoverId = failoverId;
  panel.querySelector("h2").tabIndex = -1;
  setText(panel.querySelector("h2"), "Failover em Progresso");
  panel.querySelector("ol").replaceChildren(...PHASES.map(phaseItem));
  byTestId("panel-close", panel).addEventListener("click", () => panel.remove());
  byTestId("failovers").prepend(panel);
  panels.set(failoverId, panel);
  panel.scrollIntoView({ block: "nearest" });
  return panel;
}

function phaseItem([phase, name, testid]) {
  const item = copyOf("phase");
  item.dataset.testid = `failover-step-${testid}`;
  item.dataset.phase = phase;
  item.dataset.state = "pending";
  setText(item.querySelector("[data-field=label]"), name);
  setText(item.querySelector("[data-field=phase]"), phase);
  return item;
}

function show(panel, event) {
  panel.dataset.phase = event.phase;
  panel.dataset.instanceId = event.gpu_instance_id;
  panel.dataset.over = isOver(event);
  for (const item of panel.querySelectorAll("ol li")) showPhase(item, event);
  const failed = event.phase === "failed";
  const title = failed ? "Failover Falhou" : isOver(event) ? "Failover Concluído" : "Failover em Progresso";
  const machine = [event.label, event.gpu_instance_id].filter(Boolean).join(" · ");
  setText(panel.querySelector("h2"), `${title}: ${machine}`);
  setText(byTestId("failover-message", panel), words(event));
  setAlert(byTestId("failover-error", panel), failed ? `Em ${label(event.failed_phase)}: ${event.error}` : null);
  fillFacts(byTestId("failover-result", panel), facts(event));
}

function showPhase(item, event) {
  const { phase } = item.dataset;
  const entered = event.phases.findLast((one) => one.phase === phase);
  item.dataset.state =
    event.failed_phase === phase ? "failed"
    : event.phase === phase ? (isOver(event) ? "done" : "running")
    : entered ? "done"
    : "pending";
  if (item.dataset.state === "running") item.setAttribute("aria-current", "step");
  else item.removeAttribute("aria-current");
  const time = item.querySelector("[data-field=seconds]");
  const milliseconds = event.phase_timings_ms[phase]; // of phases that are over
  setNumber(time, milliseconds == null || phase === "complete" ? null : milliseconds / 1000, seconds);
  if (item.dataset.state === "running") setText(time, "em andamento…");
  setText(item.querySelector("[data-field=detail]"), entered?.detail ?? "");
}

function words(event) {
  if (event.phase === "failed") return "A recuperação falhou.";
  if (event.phase === "complete") return "Recuperação completa.";
  return `${label(event.phase)}…`;
}

function facts(event) {
  const rows = [["Motivo", REASONS[event.reason] ?? event.reason, "failover-reason"]];
  const source = event.data_source;
  if (source) rows.push(["Fonte dos dados", SOURCES[source] ?? source, "failover-source"]);
  if (event.rpo_seconds != null) rows.push(["Perda máxima (RPO)", number(event.rpo_seconds), "failover-rpo"]);
  if (event.files_restored != null) {
    const amount = event.bytes_restored == null ? "" : ` · ${bytes(event.bytes_restored)}`;
    rows.push(["Dados Restaurados", `${count(event.files_restored)} arquivos${amount}`, "failover-restored"]);
  }
  if (event.total_time_ms != null) rows.push(["Tempo total", number(event.total_time_ms / 1000), "failover-total"]);
  if (event.new_instance_id != null && event.phase === "complete") {
    const link = document.createElement("a");
    link.href = `#${event.new_instance_id}`;
    link.textContent = `${event.new_instance_id} · ${event.new_gpu_name}`;
    rows.push(["Máquina nova", link, "failover-new-instance"]);
  }
  return rows;
}

function number(value) {
  const shown = document.createElement("data");
  setNumber(shown, value, seconds);
  return shown;
}
