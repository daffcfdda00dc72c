// "Migrar": the same data on another GPU model.

import { get, post, withQuery } from "./api.js";
import { ask, byTestId, setAlert, setText, usdAnHour } from "./view.js";

export async function migrate(id, row) {
  const dialog = byTestId("migrate-dialog");
  const form = dialog.querySelector("form");
  form.reset();
  setText(byTestId("migrate-what"), `${row.label || `Máquina ${id}`} · ${row.gpu_name} · ID ${id}`);
  const answer = ask(dialog);
  fillModels(row);
  if ((await answer) !== "confirm") return;
  await post(`/instances/${id}/migrate`, { gpu_type: form.gpu_type.value, max_price: Number(form.max_price.value) });
}

async function fillModels(row) {
  const models = byTestId("migrate-gpu");
  setAlert(byTestId("migrate-error"), null);
  models.replaceChildren(new Option("Buscando ofertas…", ""));
  byTestId("migrate-confirm").disabled = true;
  try {
    const query = { num_gpus: row.num_gpus, min_disk: row.disk_space, min_inet_down: 0, limit: 100 };
    const { offers } = await get(withQuery("/instances/offers", query));
    const cheapest = Map.groupBy(offers, (offer) => offer.gpu_name); // each model's first offer is its cheapest
    const others = [...cheapest].filter(([name]) => name !== row.gpu_name);
    const options = others.map(([name, [offer]]) => new Option(`${name} (a partir de ${usdAnHour(offer.dph_total)})`, name));
    models.replaceChildren(...(options.length ? options : [new Option("Nenhuma oferta livre", "")]));
    byTestId("migrate-confirm").disabled = !options.length;
  } catch (error) {
    models.replaceChildren(new Option("—", ""));
    setAlert(byTestId("migrate-error"), `As ofertas não puderam ser buscadas: ${error.message}`);
  }
}
