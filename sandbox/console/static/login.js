import { post } from "./api.js";
import { byTestId, setAlert } from "./view.js";

const form = byTestId("login-form");
const button = byTestId("login-submit");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  setAlert(byTestId("login-error"), null);
  try {
    await post("/auth/login", { email: form.email.value, password: form.password.value });
    location.assign(form.dataset.target + location.hash);
  } catch (error) {
    const wrong = error.status === 401;
    setAlert(byTestId("login-error"), wrong ? "Email ou senha incorretos." : error.message);
    button.disabled = false;
    form.password.select();
  }
});
