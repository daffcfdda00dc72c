// The progress panels: one for each failover, told by the API's server-sent events.

import { get } from "./api.js";
import { PHASES, REASONS, SOURCES, isOver, label } from "./phases.js";
import { byTestId, bytes, copyOf, count, fillFacts, seconds, setAlert, setNumber, setText } from "./view.js";

const panels = new Map(); // failover id -> panel
let whenOver = () => {};

/** Says what to do when a failover is over: its event is given. */
export function onFailoverOver(work) {
  whenOver = work;
}

/** Opens the panel of a failover that has begun, and follows it. Does nothing when it is open already. */
export function followFailover(failoverId, { focus = false } = {}) {
  if (panels.has(failoverId)) return;
  const panel = open(failoverId);
  if (focus) panel.querySelector("h2").focus();
  const source = new EventSource(`/api/v1/standby/failover/events?failover_id=${encodeURIComponent(failoverId)}`);
  const shown = (event) => {
    show(panel, event);
    if (isOver(event)) {
      source.close();
      whenOver(event);
    }
  };
  source.addEventListener("phase", (message) => shown(JSON.parse(message.data)));
  source.addEventListener("error", async () => {
    // The browser connects again by itself, unless the server refused. What is true is asked for meanwhile.
    try {
      shown(await get(`/standby/failover/status/${encodeURIComponent(failoverId)}`));
      if (source.readyState === EventSource.CLOSED && panels.has(failoverId) && panel.dataset.over !== "true") {
        setAlert(byTestId("failover-error", panel), "O andamento deixou de chegar. Recarregue a página.");
      }
    } catch (error) {
      setAlert(byTestId("failover-error", panel), `O andamento não pôde ser lido: ${error.message}`);
    }
  });
  byTestId("panel-close", panel).addEventListener("click", () => source.close());
}

/** Shows a failover that is over already. */
export function showPastFailover(event) {
  if (!panels.has(event.failover_id)) show(open(event.failover_id), event);
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
  setText(panel.querySelector("h2"), `${title}: máquina ${event.gpu_instance_id}`);
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
