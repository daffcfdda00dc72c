// What all pages behind the login share.

import { post } from "./api.js";
import { busy, byTestId } from "./view.js";

const logout = byTestId("logout");
logout?.addEventListener("click", () =>
  busy(logout, async () => {
    await post("/auth/logout");
    location.assign("/login");
  }),
);
