// "Migrar": the same data on another GPU model.

import { get, post, withQuery } from "./api.js";
import { isOver, newMachine, openPanel, showProgress, time } from "./progress.js";
import { ask, byTestId, bytes, complain, count, setAlert, setText, usdAnHour } from "./view.js";

const PHASES = [
  ["searching_gpu", "Buscando Nova GPU", "searching"],
  ["provisioning", "Provisionando Nova GPU", "provisioning"],
  ["copying", "Copiando com a máquina em uso", "copying"],
  ["final_sync", "Última cópia, com a máquina parada", "final-sync"],
  ["verifying", "Comparando as duas máquinas", "verifying"],
  ["switching", "Trocando de máquina", "switching"],
  ["complete", "Migração concluída com sucesso", "complete"],
];
const TITLES = ["Migrando Instância", "Migração Concluída", "Migração Falhou"];
const LOOK_EVERY = 300; // ms

/** Asks for the GPU and migrates; `over` is given the migration when it has ended. */
export async function migrate(id, row, over) {
  const dialog = byTestId("migrate-dialog");
  const form = dialog.querySelector("form");
  form.reset();
  setText(byTestId("migrate-what"), `${row.label || `Máquina ${id}`} · ${row.gpu_name} · ID ${id}`);
  const answer = ask(dialog);
  fillModels(row);
  if ((await answer) !== "confirm") return;
  const wish = { gpu_type: form.gpu_type.value, max_price: Number(form.max_price.value) };
  const { migration_id } = await post(`/instances/${id}/migrate`, wish);
  follow(migration_id, over);
}

async function follow(migrationId, over) {
  const opened = openPanel("migration", PHASES);
  opened.panel.dataset.migrationId = migrationId;
  opened.panel.querySelector("h2").focus();
  try {
    for (;;) {
      const migration = await get(`/instances/migrate/${migrationId}`);
      showProgress(opened, migration, TITLES, facts);
      if (isOver(migration)) return over(migration);
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY));
    }
  } catch (error) {
    return complain(`O andamento da migração não pôde ser lido: ${error.message}`);
  }
}

function facts(migration) {
  const rows = [["GPU", `${migration.old_gpu_name} → ${migration.gpu_type}`, "migration-gpu"]];
  if (migration.files != null) {
    rows.push(["Dados", `${count(migration.files)} arquivos · ${bytes(migration.bytes)}`, "migration-data"]);
  }
  if (migration.quiet_seconds != null) rows.push(["Parada", time(migration.quiet_seconds), "migration-quiet"]);
  if (migration.total_time_ms != null) rows.push(["Tempo total", time(migration.total_time_ms / 1000), "migration-total"]);
  if (migration.success) rows.push(["Máquina nova", newMachine(migration), "migration-new-instance"]);
  return rows;
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
    const options = others.map(([name, [offer]]) => new Option(`${name} · ${usdAnHour(offer.dph_total)}`, name));
    models.replaceChildren(...(options.length ? options : [new Option("Nenhuma oferta livre", "")]));
    byTestId("migrate-confirm").disabled = !options.length;
  } catch (error) {
    models.replaceChildren(new Option("—", ""));
    setAlert(byTestId("migrate-error"), `As ofertas não puderam ser buscadas: ${error.message}`);
  }
}
