// The API as the pages use it. Every failure is an ApiError with words for people.

export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** Calls a route of the API and returns its JSON. A session that has ended leads to the login page and back. */
export async function call(method, path, body) {
  let answer;
  try {
    answer = await fetch(`/api/v1${path}`, {
      method,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new ApiError("A nuvem não responde.", 0);
  }
  let json;
  try {
    json = await answer.json();
  } catch {
    throw new ApiError(`A resposta da nuvem não se entende (HTTP ${answer.status}).`, answer.status);
  }
  if (answer.status === 401 && !path.startsWith("/auth/login")) {
    sessionEnded();
  }
  if (!answer.ok) throw new ApiError(`${words(json)} (HTTP ${answer.status})`, answer.status);
  return json;
}

export const get = (path) => call("GET", path);
export const post = (path, body) => call("POST", path, body);

/** A path with its query; what is empty is left out. */
export function withQuery(path, values) {
  const given = Object.entries(values).filter(([, value]) => value !== "" && value != null);
  return `${path}?${new URLSearchParams(given)}`;
}

export function sessionEnded() {
  const here = location.pathname + location.hash;
  location.assign(`/login?${new URLSearchParams({ after: here, expired: "true" })}`);
}

function words(json) {
  const error = json.error ?? json.detail;
  if (Array.isArray(json.details)) {
    const fields = json.details.map((one) => `${one.loc.slice(1).join(".")}: ${one.msg}`);
    return `${error}: ${fields.join("; ")}`;
  }
  return typeof error === "string" ? error : (error?.error ?? JSON.stringify(json));
}
