// What all pages behind the login share.

import { post } from "./api.js";
import { busy, byTestId, onClick } from "./view.js";

const logout = byTestId("logout");
if (logout) {
  onClick(logout, () =>
    busy(logout, async () => {
      await post("/auth/logout");
      location.assign("/login");
    }),
  );
}
