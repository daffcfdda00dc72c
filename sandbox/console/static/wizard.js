// "Nova Máquina": region, hardware, strategy, then a race that the API runs and this page watches.

import { get, post, withQuery } from "./api.js";
import { byTestId, copyOf, gigabytes, onClick, say, seconds, setAlert, setNumber, setText, usdAnHour } from "./view.js";

const dialog = byTestId("wizard");
const form = dialog.querySelector("form");
const back = byTestId("wizard-back");
const next = byTestId("wizard-next");
const start = byTestId("wizard-start");
const use = byTestId("wizard-use");
const PROVISION = 4;
const LOOK_EVERY = 250; // ms
const CANDIDATE = {
  renting: "Alugando…",
  loading: "Carregando ambiente…",
  ready: "Pronta!",
  won: "Conectado",
  lost: "Cancelada",
  failed: "Falhou",
};

let step = 1;
let watched = 0; // which race is being watched: an older watch ends when a newer one begins
let asked = 0; // the same for offers
let racing = false;

onClick(byTestId("new-machine"), () => open());
byTestId("wizard-close").addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => {
  if (racing) say("A corrida continua. A máquina que vencer aparece em Máquinas.");
});
back.addEventListener("click", () => show(step === PROVISION ? 2 : step - 1));
start.addEventListener("click", begin);
form.addEventListener("submit", (event) => {
  event.preventDefault(); // it goes on, it does not close the dialog
  if (step < 3) forward(); // Enter alone never rents anything
});
form.addEventListener("change", (event) => {
  setAlert(byTestId("wizard-error"), null);
  if (["max_price", "disk_size"].includes(event.target.name)) findOffers();
});
if (location.hash === "#nova") open();

function open() {
  form.reset();
  history.replaceState(null, "", location.pathname);
  dialog.showModal();
  show(1);
}

function show(number) {
  step = number;
  for (const part of dialog.querySelectorAll("fieldset[data-step]")) part.hidden = Number(part.dataset.step) !== step;
  for (const item of dialog.querySelectorAll(".steps li")) {
    item.toggleAttribute("aria-current", Number(item.dataset.step) === step);
    if (Number(item.dataset.step) === step) item.setAttribute("aria-current", "step");
  }
  back.hidden = step === 1 || step === PROVISION;
  setText(back, "Voltar");
  next.hidden = step > 2;
  start.hidden = step !== 3;
  use.hidden = true;
  setAlert(byTestId("wizard-error"), null);
  if (step === 2) findOffers();
  if (step === 3) setText(byTestId("wizard-summary"), summary());
  dialog.querySelector(`fieldset[data-step="${step}"] legend`).focus();
}

function forward() {
  const missing = step === 1 ? noRegion() : noHardware();
  setAlert(byTestId("wizard-error"), missing && `Por favor, corrija os seguintes campos: ${missing}`);
  if (!missing) show(step + 1);
}

function noRegion() {
  return form.querySelector("input[name=region]:checked") ? null : "escolha uma região.";
}

function noHardware() {
  if (!form.max_price.checkValidity()) return "o preço máximo deve ser maior que zero.";
  if (!form.disk_size.checkValidity()) return "o disco deve ter 10 GB ou mais.";
  return form.querySelector("input[name=gpu_name]:checked") ? null : "escolha uma GPU.";
}

/** What the offers are asked for, and the race. */
function wish() {
  const chosen = new FormData(form);
  return { region: chosen.get("region"), max_price: chosen.get("max_price"), gpu_name: chosen.get("gpu_name") };
}

function summary() {
  const { region, gpu_name, max_price } = wish();
  const place = region ? byTestId("wizard-step-1").querySelector("input:checked + strong").textContent : "qualquer região";
  return `${gpu_name}, ${place}, disco de ${gigabytes(form.disk_size.value)}, até ${usdAnHour(max_price)}.`;
}

async function findOffers() {
  const turn = ++asked;
  const { region, max_price, gpu_name: before } = wish();
  const status = byTestId("offers-status");
  const options = byTestId("gpu-options");
  setText(status, "Buscando ofertas…");
  options.replaceChildren();
  const query = { region, max_price, min_disk: form.disk_size.value, min_inet_down: 0, limit: 100 };
  try {
    const { offers } = await get(withQuery("/instances/offers", query));
    if (turn !== asked) return;
    const models = Map.groupBy(offers, (offer) => offer.gpu_name);
    options.replaceChildren(...[...models].map(([name, some]) => option(name, some, name === before)));
    const cut = offers.length >= query.limit ? ` (as ${query.limit} mais baratas)` : "";
    setText(status, offers.length ? `${offers.length} ofertas livres agora${cut}` : "Nenhuma oferta livre com estes limites.");
  } catch (error) {
    if (turn !== asked) return;
    setText(status, "");
    setAlert(byTestId("wizard-error"), `As ofertas não puderam ser buscadas: ${error.message}`);
  }
}

function option(name, offers, checked) {
  const label = copyOf("gpu-option");
  const id = `gpu-option-${name.toLowerCase().replaceAll(" ", "-")}`;
  const radio = label.querySelector("input");
  const title = label.querySelector("strong");
  const what = label.querySelector("small");
  label.dataset.testid = id;
  [title.id, what.id] = [id, `${id}-what`];
  radio.value = name;
  radio.checked = checked;
  radio.setAttribute("aria-labelledby", title.id);
  radio.setAttribute("aria-describedby", what.id);
  title.textContent = name;
  const cheapest = Math.min(...offers.map((offer) => offer.dph_total));
  const many = offers.length === 1 ? "1 oferta" : `${offers.length} ofertas`;
  const price = document.createElement("data");
  price.dataset.testid = `${id}-price`;
  setNumber(price, cheapest, usdAnHour);
  what.append("a partir de ", price, ` · ${gigabytes(offers[0].gpu_ram)} · ${many}`);
  return label;
}

async function begin() {
  start.disabled = true;
  setText(start, "Iniciando…");
  const chosen = new FormData(form);
  try {
    const race = await post("/instances/race", {
      gpu_name: chosen.get("gpu_name"),
      region: chosen.get("region") || null,
      max_price: Number(chosen.get("max_price")),
      disk_size: Number(chosen.get("disk_size")),
      label: chosen.get("label").trim() || null,
      strategy: chosen.get("strategy"),
    });
    show(PROVISION);
    await watch(race.race_id);
  } catch (error) {
    setAlert(byTestId("wizard-error"), `A máquina não foi criada: ${error.message}`);
  } finally {
    start.disabled = false;
    setText(start, "Iniciar");
  }
}

async function watch(raceId) {
  const turn = ++watched;
  dialog.dataset.raceId = raceId;
  while (turn === watched && dialog.open) {
    try {
      const race = await get(`/instances/race/${raceId}`);
      if (turn !== watched) return;
      setAlert(byTestId("wizard-error"), null);
      showRace(race);
      racing = !["won", "failed"].includes(race.status);
      if (!racing) return;
    } catch (error) {
      setAlert(byTestId("wizard-error"), `O andamento não pôde ser lido: ${error.message}`);
      if (error.status === 404) return;
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY));
  }
}

function showRace(race) {
  const won = race.status === "won";
  const failed = race.status === "failed";
  setText(byTestId("race-title"), won ? "Máquina Conectada!" : failed ? "Nenhuma máquina" : "Provisionando máquinas…");
  setText(byTestId("race-status"), status(race));
  setNumber(byTestId("wizard-timer"), race.seconds, seconds);
  if (race.seconds == null) setText(byTestId("wizard-timer"), "em andamento…");
  byTestId("candidates").replaceChildren(...race.candidates.map(candidate));
  if (failed) setAlert(byTestId("wizard-error"), `A máquina não foi criada: ${race.error}`);
  back.hidden = !failed;
  setText(back, "Buscar Outras");
  use.hidden = !won;
  if (won && use.getAttribute("href") !== `/app/machines#${race.winner_id}`) {
    use.href = `/app/machines#${race.winner_id}`;
    use.focus();
  }
}

function status(race) {
  if (race.status === "searching") return "Buscando ofertas…";
  if (race.status === "provisioning") return "Esperando a primeira máquina que responda por SSH…";
  if (race.status === "failed") return "";
  const losers = race.candidates.filter((one) => one.instance_id != null && one.instance_id !== race.winner_id);
  const gone = race.losers_gone ? " As outras foram destruídas, e o mercado já não as tem." : "";
  return `${race.candidates.find((one) => one.state === "won").gpu_name} venceu a corrida! ID ${race.winner_id}.${losers.length ? gone : ""}`;
}

function candidate(one, index) {
  const item = copyOf("candidate");
  item.dataset.testid = `provisioning-candidate-${index}`;
  item.dataset.state = one.state;
  const id = one.instance_id == null ? `oferta ${one.offer_id}` : `ID ${one.instance_id}`;
  setText(item.querySelector("[data-field=name]"), `${one.gpu_name} · ${id}`);
  setNumber(item.querySelector("[data-field=price]"), one.hourly_usd, usdAnHour);
  const badge = item.querySelector("[data-field=state]");
  badge.dataset.kind = { won: "good", ready: "good", failed: "bad", lost: "off" }[one.state] ?? "busy";
  const gone = one.gone && one.instance_id != null ? ", destruída" : "";
  setText(badge, `${CANDIDATE[one.state]}${gone}`);
  if (one.error) {
    const why = document.createElement("small");
    why.textContent = one.error;
    item.append(why);
  }
  return item;
}
