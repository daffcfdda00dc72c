// A panel that shows work in phases: of which each has the API's name, a label and measured seconds.

import { byTestId, copyOf, fillFacts, seconds, setAlert, setNumber, setText } from "./view.js";

export const isOver = (event) => event.phase === "complete" || event.phase === "failed";

/** `kind` begins the testids; `phases` are [name, label, end of the testid]. */
export function openPanel(kind, phases) {
  const panel = copyOf("progress-panel");
  panel.dataset.testid = `${kind}-progress-panel`;
  for (const part of ["message", "error", "result"]) byTestId(part, panel).dataset.testid = `${kind}-${part}`;
  panel.querySelector("h2").tabIndex = -1;
  panel.querySelector("ol").replaceChildren(...phases.map((phase) => phaseItem(kind, phase)));
  byTestId("panel-close", panel).addEventListener("click", () => panel.remove());
  byTestId("failovers").prepend(panel);
  panel.scrollIntoView({ block: "nearest" });
  return { panel, kind, phases };
}

function phaseItem(kind, [phase, name, testid]) {
  const item = copyOf("phase");
  item.dataset.testid = `${kind}-step-${testid}`;
  item.dataset.phase = phase;
  item.dataset.state = "pending";
  setText(item.querySelector("[data-field=label]"), name);
  setText(item.querySelector("[data-field=phase]"), phase);
  return item;
}

/** Shows how far it is, unless newer news were shown already. Returns whether it was shown. */
export function showProgress({ panel, kind, phases }, event, titles, facts) {
  const before = Number(panel.dataset.phases ?? 0);
  if (panel.dataset.over === "true" || event.phases.length < before) return false;
  const [going, done, failed] = titles;
  const label = (name) => phases.find(([one]) => one === name)?.[1] ?? name;
  panel.dataset.phases = event.phases.length;
  panel.dataset.instanceId = event.gpu_instance_id ?? event.instance_id;
  panel.dataset.phase = event.phase;
  panel.dataset.over = isOver(event);
  for (const item of panel.querySelectorAll("ol li")) showPhase(item, event);
  const title = { complete: done, failed }[event.phase] ?? going;
  const machine = [event.label, event.gpu_instance_id ?? event.instance_id].filter(Boolean).join(" · ");
  setText(panel.querySelector("h2"), `${title}: ${machine}`);
  setText(byTestId(`${kind}-message`, panel), event.phase === "failed" ? "Falhou." : `${label(event.phase)}${isOver(event) ? "." : "…"}`);
  setAlert(byTestId(`${kind}-error`, panel), event.phase === "failed" ? `Em ${label(event.failed_phase)}: ${event.error}` : null);
  fillFacts(byTestId(`${kind}-result`, panel), facts(event));
  return true;
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

/** Seconds as an element that holds the exact value, too. */
export function time(value) {
  const shown = document.createElement("data");
  setNumber(shown, value, seconds);
  return shown;
}

/** A link to the card of the machine that came out of it. */
export function newMachine(event) {
  const link = document.createElement("a");
  link.href = `#${event.new_instance_id}`;
  link.textContent = `${event.new_instance_id} · ${event.new_gpu_name}`;
  return link;
}
