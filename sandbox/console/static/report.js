import "./frame.js";
import { get } from "./api.js";
import { PHASES, REASONS, SOURCES, label } from "./phases.js";
import { isOver } from "./progress.js";
import { byTestId, copyOf, count, fillFacts, moment, percent, seconds, setAlert, setNumber, setText } from "./view.js";

const ranges = byTestId("failover-time-range").querySelectorAll("button");
let asked = 0;

for (const button of ranges) button.addEventListener("click", () => load(button));
load(byTestId("failover-time-range-30d"));

async function load(chosen) {
  const turn = ++asked;
  for (const button of ranges) button.setAttribute("aria-pressed", button === chosen);
  byTestId("failover-loading").hidden = false;
  byTestId("report-body").hidden = true;
  setAlert(byTestId("report-error"), null);
  try {
    const report = await get(`/standby/failover/report?days=${chosen.dataset.days}`);
    if (turn !== asked) return;
    fillFacts(byTestId("failover-metrics"), metrics(report));
    showLatency(report.latency_by_phase_ms);
    byTestId("failover-none").hidden = report.history.length > 0;
    byTestId("failover-history").querySelector("ol").replaceChildren(...report.history.map(item));
    byTestId("report-body").hidden = false;
  } catch (error) {
    if (turn === asked) setAlert(byTestId("report-error"), `O relatório não pôde ser lido: ${error.message}`);
  } finally {
    if (turn === asked) byTestId("failover-loading").hidden = true;
  }
}

function metrics(report) {
  const none = !report.total_failovers;
  const time = (milliseconds) => (report.successful_failovers && milliseconds != null ? seconds(milliseconds / 1000) : "—");
  const both = (times) => (times.count ? `${seconds(times.p50)} · ${seconds(times.p95)}` : "—");
  const inSeconds = ({ p50, p95, count: many }) => ({ p50: p50 / 1000, p95: p95 / 1000, count: many });
  return [
    ["Total de Failovers", count(report.total_failovers), "metric-total"],
    ["Taxa de Sucesso", none ? "—" : percent(report.success_rate), "metric-success-rate"],
    ["MTTR (Tempo Médio)", time(report.mttr_ms), "metric-mttr"],
    ["Latência Detecção", time(report.latency_by_phase_ms.detecting), "metric-detection"],
    ["RTO p50 · p95", both(inSeconds(report.rto_ms)), "metric-rto"],
    ["RPO p50 · p95", both(report.rpo_seconds), "metric-rpo"],
    ["Dados Restaurados", count(report.data_restored_count), "metric-restored"],
    ["GPUs Provisionadas", count(report.gpus_provisioned_count), "metric-provisioned"],
    ["Causa Principal", none ? "—" : (REASONS[report.primary_cause] ?? report.primary_cause), "metric-cause"],
  ];
}

function showLatency(byPhase) {
  const measured = PHASES.filter(([phase]) => byPhase[phase] != null);
  const total = measured.reduce((sum, [phase]) => sum + byPhase[phase], 0);
  const rows = measured.map(([phase, name]) => {
    const row = document.createElement("tr");
    row.dataset.phase = phase;
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = name;
    const code = document.createElement("code");
    code.textContent = phase;
    const time = document.createElement("data");
    setNumber(time, byPhase[phase] / 1000, seconds);
    const meter = document.createElement("meter");
    [meter.max, meter.value] = [total || 1, byPhase[phase]];
    meter.setAttribute("aria-label", `Parte de ${name}`);
    row.append(head, ...[code, time, meter].map((content) => {
      const cell = document.createElement("td");
      cell.append(content);
      return cell;
    }));
    return row;
  });
  byTestId("latency-breakdown").hidden = !rows.length;
  byTestId("latency-breakdown").querySelector("tbody").replaceChildren(...rows);
}

function item(event) {
  const shown = copyOf("failover-item");
  shown.dataset.testid = `failover-item-${event.failover_id}`;
  setText(shown.querySelector("h3"), `${moment(event.started_at)} · máquina ${event.gpu_instance_id}`);
  const badge = shown.querySelector(".badge");
  const [text, kind] = !isOver(event) ? [label(event.phase), "busy"] : event.success ? ["Sucesso", "good"] : ["Falhou", "bad"];
  setText(badge, text);
  badge.dataset.kind = kind;
  setAlert(shown.querySelector(".alert"), event.error && `Em ${label(event.failed_phase)}: ${event.error}`);
  const rows = [
    ["ID", event.failover_id],
    ["Motivo", REASONS[event.reason] ?? event.reason],
    ["Fonte dos dados", SOURCES[event.data_source] ?? event.data_source],
    ["Máquina nova", event.new_instance_id && `${event.new_instance_id} · ${event.new_gpu_name}`],
    ["Tempo total", event.total_time_ms != null && seconds(event.total_time_ms / 1000), "failover-item-total"],
    ["Perda máxima (RPO)", event.rpo_seconds != null && seconds(event.rpo_seconds), "failover-item-rpo"],
  ];
  fillFacts(shown.querySelector("dl"), rows.filter(([, value]) => value).map(([name, value, id]) => [name, String(value), id]));
  return shown;
}
