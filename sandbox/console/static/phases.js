// The phases of a failover in their order: the API's name, the label, and the end of the testid.

export const PHASES = [
  ["detecting", "Detectando a Falha", "detecting"],
  ["gpu_lost", "GPU Interrompida", "gpu-lost"],
  ["failover_to_cpu", "Failover para CPU Standby", "active"],
  ["searching_gpu", "Buscando Nova GPU", "searching"],
  ["provisioning", "Provisionando Nova GPU", "provisioning"],
  ["restoring", "Restaurando Dados", "restoring"],
  ["complete", "Recuperação Completa", "complete"],
];

export const SOURCES = {
  cpu_standby: "CPU Standby",
  snapshot: "Snapshot",
  warm_pool: "Warm Pool",
  regional_volume: "Volume regional",
};

export const REASONS = {
  spot_interruption: "Interrupção spot",
  gpu_lost: "GPU perdida",
  gpu_failure: "Falha da GPU",
};

export const label = (phase) => PHASES.find(([name]) => name === phase)?.[1] ?? phase;
