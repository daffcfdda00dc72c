// The progress panels of failovers, told by the API's server-sent events.

import { get } from "./api.js";
import { PHASES, REASONS, SOURCES } from "./phases.js";
import { isOver, newMachine, openPanel, showProgress, time } from "./progress.js";
import { byTestId, bytes, count, setAlert } from "./view.js";

const TITLES = ["Failover em Progresso", "Failover Concluído", "Failover Falhou"];
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
    for (const [id, { panel }] of panels) if (panel.dataset.over !== "true") ask(id);
  });
}

/** Opens the panel of a failover that was ordered here. */
export async function followFailover(failoverId) {
  if (!panels.has(failoverId)) open(failoverId);
  panels.get(failoverId).panel.querySelector("h2").focus();
  await ask(failoverId);
}

async function ask(failoverId) {
  try {
    take(await get(`/standby/failover/status/${encodeURIComponent(failoverId)}`));
  } catch (error) {
    const alert = byTestId("failover-error", panels.get(failoverId).panel);
    setAlert(alert, `O andamento não pôde ser lido: ${error.message}`);
  }
}

function take(event) {
  if (!panels.has(event.failover_id)) open(event.failover_id);
  const shown = showProgress(panels.get(event.failover_id), event, TITLES, facts);
  if (shown && isOver(event)) whenOver(event);
}

function open(failoverId) {
  const opened = openPanel("failover", PHASES);
  opened.panel.dataset.failoverId = failoverId;
  panels.set(failoverId, opened);
}

function facts(event) {
  const rows = [["Motivo", REASONS[event.reason] ?? event.reason, "failover-reason"]];
  const source = event.data_source;
  if (source) rows.push(["Fonte dos dados", SOURCES[source] ?? source, "failover-source"]);
  if (event.rpo_seconds != null) rows.push(["Perda máxima (RPO)", time(event.rpo_seconds), "failover-rpo"]);
  if (event.files_restored != null) {
    const amount = event.bytes_restored == null ? "" : ` · ${bytes(event.bytes_restored)}`;
    rows.push(["Dados Restaurados", `${count(event.files_restored)} arquivos${amount}`, "failover-restored"]);
  }
  if (event.total_time_ms != null) rows.push(["Tempo total", time(event.total_time_ms / 1000), "failover-total"]);
  if (event.phase === "complete" && event.new_instance_id != null) {
    rows.push(["Máquina nova", newMachine(event), "failover-new-instance"]);
  }
  return rows;
}
