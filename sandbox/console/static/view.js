// Small helps to show things. Numbers are shown as the API told them, in Brazilian form.

export const byTestId = (id, within = document) => within.querySelector(`[data-testid="${id}"]`);

/** A new copy of what the template of this name holds. */
export function copyOf(template) {
  return document.getElementById(template).content.firstElementChild.cloneNode(true);
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows a number in words, and as it is in the value of its <data>; null: nothing is known. */
export function setNumber(element, value, words) {
  element.value = value ?? "";
  setText(element, value == null ? "" : words(value));
}

/** Shows an alert, or hides it when there is no text. */
export function setAlert(element, text) {
  if (element.textContent !== (text ?? "")) element.textContent = text ?? "";
  element.hidden = !text;
}

const usual = new Intl.NumberFormat("pt-BR", { maximumFractionDigits: 1 });
const inDollars = { style: "currency", currency: "USD" };
const amounts = new Intl.NumberFormat("pt-BR", inDollars);
const usualPrices = new Intl.NumberFormat("pt-BR", { ...inDollars, minimumFractionDigits: 2, maximumFractionDigits: 4 });
// Two digits of an amount below one cent, so that it is not shown as nothing.
const small = new Intl.NumberFormat("pt-BR", { ...inDollars, minimumSignificantDigits: 2, maximumSignificantDigits: 2 });
const CENT = 0.01;
const isSmall = (value) => value !== 0 && Math.abs(value) < CENT;
const prices = { format: (value) => (isSmall(value) ? small : usualPrices).format(value) };

export const count = (value) => usual.format(value);
export const usd = (value) => (isSmall(value) ? small : amounts).format(value);
export const usdAnHour = (value) => `${prices.format(value)}/h`;
export const percent = (value) => `${usual.format(value)} %`;
export const gigabytes = (value) => `${usual.format(value)}\u00a0GB`;

export function seconds(value) {
  const digits = value < 0.1 ? 3 : value < 10 ? 2 : 1;
  return `${new Intl.NumberFormat("pt-BR", { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value)}\u00a0s`;
}

export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const unit = Math.min(Math.floor(Math.log10(Math.max(value, 1)) / 3), units.length - 1);
  return `${usual.format(value / 1000 ** unit)} ${units[unit]}`;
}

/** A point in time: epoch seconds, or text that Date understands. */
export function moment(value) {
  const date = new Date(typeof value === "number" ? value * 1000 : value);
  return date.toLocaleString("pt-BR", { dateStyle: "short", timeStyle: "medium" });
}

/** Fills a <dl> with [name, text, testid] rows. */
export function fillFacts(list, rows) {
  list.replaceChildren(
    ...rows.map(([name, text, testid]) => {
      const row = document.createElement("div");
      const term = document.createElement("dt");
      const value = document.createElement("dd");
      term.textContent = name;
      value.append(text);
      if (testid) value.dataset.testid = testid;
      row.append(term, value);
      return row;
    }),
  );
}

const NEWS_FOR = 10000; // ms

/** Tells news at the edge of the page for a while. */
export function say(text) {
  const message = show(byTestId("news"), text, "news-message");
  setTimeout(() => message.remove(), NEWS_FOR);
}

/** Tells an error; it stays until it is closed. */
export function complain(text) {
  show(byTestId("errors"), text, "error-message").setAttribute("role", "alert");
}

function show(place, text, testid) {
  const message = copyOf("message");
  message.dataset.testid = testid;
  message.querySelector("p").textContent = text;
  message.querySelector("button").addEventListener("click", () => message.remove());
  place.append(message);
  while (place.children.length > 3) place.firstElementChild.remove();
  return message;
}

/** Does work for a button, which cannot be pressed again meanwhile; an error is told. */
export async function busy(button, work) {
  if (button.dataset.busy) return;
  button.dataset.busy = "true";
  button.disabled = true;
  button.setAttribute("aria-busy", "true");
  try {
    await work();
  } catch (error) {
    complain(`${button.textContent.trim()}: ${error.message}`);
  } finally {
    delete button.dataset.busy;
    button.disabled = false;
    button.removeAttribute("aria-busy");
  }
}

/** Acts on a button that the page shows before its scripts are here: it is disabled until then. */
export function onClick(button, act) {
  button.addEventListener("click", act);
  button.disabled = false;
}

/** Opens a dialog and resolves with what it was closed by: the value of a button, "" for Escape. */
export function ask(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true });
  });
}

/** Does the work over and over while the page is seen; `pause` in ms. Returns a function that does it at once. */
export function keepDoing(work, pause) {
  let timer;
  let running = null;
  let again = false;
  const turn = async () => {
    clearTimeout(timer);
    if (running) {
      again = true;
      return running;
    }
    running = work();
    await running;
    running = null;
    if (again) {
      again = false;
      return turn();
    }
    if (!document.hidden) timer = setTimeout(turn, pause);
  };
  document.addEventListener("visibilitychange", () => document.hidden || turn());
  turn();
  return turn;
}
