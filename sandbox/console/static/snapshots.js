// Watching a snapshot that was ordered.

import { get } from "./api.js";
import { bytes, complain, say } from "./view.js";

const LOOK_EVERY = 1000; // ms

/** Looks until the snapshot of this name is taken or has failed, and tells which. */
export async function watchSnapshot(instanceId, name) {
  try {
    for (;;) {
      const { snapshots } = await get(`/snapshots?instance_id=${instanceId}`);
      const found = snapshots.find((one) => one.name === name);
      if (!found) return complain(`O snapshot ${name} não está na lista.`);
      if (found.status === "failed") return complain(`O snapshot ${name} falhou: ${found.error}`);
      if (found.status === "success") {
        const sizes = [found.size_original, found.size_compressed].map((size) => (size == null ? "?" : bytes(size)));
        return say(`Snapshot ${name} criado: ${sizes[0]}, ${sizes[1]} guardados.`);
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY));
    }
  } catch (error) {
    return complain(`O snapshot ${name} não pôde ser acompanhado: ${error.message}`);
  }
}
