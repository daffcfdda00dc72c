// "Restaurar Snapshot": onto this machine, or onto a new one.

import { get, post } from "./api.js";
import { ask, busy, byTestId, bytes, copyOf, count, moment, say, setAlert, setText } from "./view.js";

const LOOK_EVERY = 500; // ms

/** Asks for a snapshot and a place, and restores. `instanceId` null: there is no machine, only a new one will do. */
export async function restoreOnto(instanceId) {
  const dialog = byTestId("restore-dialog");
  const form = dialog.querySelector("form");
  form.reset();
  byTestId("restore-here").hidden = instanceId === null;
  setText(byTestId("restore-here-what"), `ID ${instanceId}: o que há na pasta do snapshot é trocado`);
  form.where.value = instanceId === null ? "new" : "here";
  const answer = ask(dialog);
  fillList(instanceId);
  if ((await answer) !== "confirm") return;
  const { snapshot, where, max_price } = Object.fromEntries(new FormData(form));
  if (where === "new") await ontoNew(snapshot, Number(max_price));
  else await ontoThis(snapshot, instanceId);
}

async function fillList(instanceId) {
  const status = byTestId("snapshots-status");
  const list = byTestId("snapshot-list");
  setAlert(byTestId("restore-error"), null);
  setText(status, "Buscando os snapshots…");
  list.replaceChildren();
  byTestId("restore-confirm").disabled = true;
  try {
    const { snapshots } = await get("/snapshots");
    const whole = snapshots.filter((one) => one.status === "success");
    const own = (one) => Number(Number(one.instance_id) === instanceId);
    whole.sort((one, other) => own(other) - own(one)); // its own first; the order is else the API's, newest first
    list.replaceChildren(...whole.map(item));
    setText(status, whole.length ? "" : "Nenhum snapshot");
    byTestId("restore-confirm").disabled = !whole.length;
  } catch (error) {
    setText(status, "");
    setAlert(byTestId("restore-error"), `Os snapshots não puderam ser listados: ${error.message}`);
  }
}

function item(snapshot) {
  const label = copyOf("snapshot");
  const radio = label.querySelector("input");
  const [name, what] = [label.querySelector("strong"), label.querySelector("small")];
  label.dataset.testid = `snapshot-${snapshot.short_id}`;
  name.id = `snapshot-${snapshot.short_id}`;
  what.id = `${name.id}-what`;
  radio.value = snapshot.id;
  radio.setAttribute("aria-labelledby", name.id);
  radio.setAttribute("aria-describedby", what.id);
  name.textContent = snapshot.name ?? snapshot.short_id;
  const size = snapshot.size_original == null ? null : bytes(snapshot.size_original);
  const origin = snapshot.instance_id == null ? null : `máquina ${snapshot.instance_id}`;
  what.textContent = [snapshot.short_id, moment(snapshot.time), size, origin].filter(Boolean).join(" · ");
  return label;
}

async function ontoThis(snapshotId, instanceId) {
  const done = await post("/snapshots/restore", { snapshot_id: snapshotId, instance_id: instanceId });
  say(`Snapshot ${done.snapshot_id} restaurado na máquina ${instanceId}: ${count(done.files_restored)} arquivos.`);
}

async function ontoNew(snapshotId, maxPrice) {
  const begun = await post(`/snapshots/${encodeURIComponent(snapshotId)}/restore`, { max_price: maxPrice });
  const id = begun.instance_id;
  say(`O snapshot ${begun.snapshot_id} está sendo restaurado na máquina nova ${id}.`);
  for (;;) {
    const { restore } = await get(`/instances/${id}`);
    if (restore?.error) throw new Error(restore.error);
    if (restore?.status === "restored") break;
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY));
  }
  say(`Snapshot ${begun.snapshot_id} restaurado na máquina nova ${id}.`);
}
