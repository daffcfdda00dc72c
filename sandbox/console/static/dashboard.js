import "./frame.js";
import { get } from "./api.js";
import { byTestId, count, keepDoing, setAlert, setText, usd, usdAnHour } from "./view.js";
import "./wizard.js";

keepDoing(async () => {
  const figures = byTestId("stats");
  try {
    const [listed, standbys, account] = await Promise.all([
      get("/instances"),
      get("/standby/associations"),
      get("/instances/balance"),
    ]);
    const machines = listed.instances.filter((one) => one.actual_status !== "offline"); // lost ones cost nothing
    const mirrors = Object.values(standbys.associations);
    const hourly = machines.reduce((sum, one) => sum + (one.dph_total ?? 0), 0);
    const mirrored = mirrors.reduce((sum, one) => sum + (one.cpu_standby.hourly_usd ?? 0), 0);
    setText(byTestId("stat-active"), count(machines.filter((one) => one.actual_status === "running").length));
    setText(byTestId("stat-standby"), count(mirrors.filter((one) => one.state === "ready").length));
    setText(byTestId("stat-hourly"), usdAnHour(hourly + mirrored));
    setText(byTestId("stat-balance"), usd(account.credit + account.balance));
    figures.removeAttribute("aria-busy");
    setAlert(byTestId("dashboard-error"), null);
  } catch (error) {
    figures.setAttribute("aria-busy", "true");
    setAlert(byTestId("dashboard-error"), `Os números acima não são atuais: ${error.message}`);
  }
}, 2000);
