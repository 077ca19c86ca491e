// The page of a new import: the chosen file is looked at by the server as often as an option changes, and uploaded at the end. A look
// that is not needed any more is stopped, and an upload that is sent again has the key of the first time.
(() => {
  "use strict";
  const form = document.getElementById("new-import");
  if (!form) return;
  const file = form.elements.namedItem("file");
  const found = document.getElementById("found");
  const send = document.getElementById("send");
  const sent = document.getElementById("sent");
  const keepAs = document.getElementById("keep-as");
  const kept = document.getElementById("kept");
  const outcome = document.getElementById("outcome");
  const headers = { "Muster-Form": form.elements.namedItem("form").value };
  let turn = 0;
  let looking = null;
  let key = "";
  let meanings = {};
  // The file brings failed records again, and is read as their import was.
  let again = false;

  const chosen = () => file.files[0];

  // The order of days that a look found to be proved counts for the next look alone: the file proves it anew when it is imported.
  function options(proved) {
    const query = new URLSearchParams(chosen() ? { filename: chosen().name } : {});
    for (const field of form.querySelectorAll("[name]:not([name=file]):not([name=form])")) {
      // What is not chosen is as usual, or as the profile says.
      if (field.value.trim()) query.set(field.name, field.value.trim());
    }
    if (proved) query.set("dates", proved);
    if (!again && !query.has("profile") && !query.has("unknown_columns")) query.set("unknown_columns", "ignore");
    if (Object.keys(meanings).length) query.set("columns", JSON.stringify(meanings));
    return query;
  }

  const say = (text, wrong) => {
    outcome.textContent = text;
    outcome.className = wrong ? "note wrong" : "";
  };

  function stop() {
    turn += 1;
    looking?.abort();
    found.removeAttribute("aria-busy");
  }

  // Another file, or the same with other options, is another upload.
  const changed = () => (key = "");

  // Random, also where the page did not come over HTTPS, and crypto.randomUUID is not there.
  const random = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

  async function look(proved) {
    stop();
    if (!chosen()) return;
    const mine = turn;
    looking = new AbortController();
    send.disabled = true;
    found.setAttribute("aria-busy", "true");
    try {
      // Without a type of its own: the name of the file tells what it is.
      const answer = await fetch(`/console/new/look?${options(proved)}`, {
        method: "POST",
        headers,
        body: chosen().slice(),
        signal: looking.signal,
      });
      const text = await answer.text();
      if (mine !== turn) return;
      if (answer.status === 401) return location.reload();
      const page = new DOMParser().parseFromString(text, "text/html");
      if (!again && page.getElementById("facts")?.dataset.again) {
        again = true;
        return await look(proved);
      }
      const days = proved ? "" : page.getElementById("facts")?.dataset.days;
      if (days) return await look(days);
      const focused = document.activeElement.dataset.column;
      found.replaceChildren(...(answer.ok ? page.body : page.querySelector("main") || page.body).childNodes);
      if (focused !== undefined) found.querySelector(`[data-column="${CSS.escape(focused)}"]`)?.focus();
      const facts = document.getElementById("facts");
      send.disabled = !facts || facts.dataset.refused === "1";
      say(facts ? facts.textContent.replace(/\s+/g, " ").trim() : "", false);
    } catch {
      if (mine === turn) say("The server does not answer. Choose the file again in a moment.", true);
    } finally {
      if (mine === turn) found.removeAttribute("aria-busy");
    }
  }

  form.addEventListener("change", (event) => {
    if (event.target === keepAs) return;
    const column = event.target.dataset.column;
    if (column !== undefined) meanings[column] = event.target.value;
    if (event.target === file) {
      meanings = {};
      again = false;
    }
    changed();
    look();
  });

  // What is chosen, and what the columns mean, under a name.
  async function keepThem() {
    kept.textContent = "";
    kept.className = "";
    const query = options();
    query.set("as", keepAs.value.trim());
    let text = "The server does not answer. Nothing was saved.";
    try {
      const answer = await fetch(`/console/new/keep?${query}`, { method: "POST", headers });
      if (answer.status === 401) return location.reload();
      const told = await answer.json();
      if (answer.ok && !told.error) {
        const list = document.getElementById("profile");
        list.add(new Option(told.name, told.name), 1);
        kept.textContent = `Saved as the profile ${told.name}. It is changed under Profiles.`;
        return;
      }
      text = told.error ? told.error.message : "Nothing was saved.";
    } catch {}
    kept.textContent = text;
    kept.className = "note wrong";
  }
  document.getElementById("keep").addEventListener("click", keepThem);
  keepAs.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    keepThem();
  });

  const drop = form.querySelector(".drop");
  for (const kind of ["dragenter", "dragover"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    if (!event.dataTransfer.files.length) return;
    file.files = event.dataTransfer.files;
    meanings = {};
    again = false;
    changed();
    look();
  });

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!chosen()) return;
    stop();
    key ||= random();
    send.disabled = true;
    sent.hidden = false;
    say("Uploading…", false);
    const request = new XMLHttpRequest();
    request.open("POST", `/console/new/take?${options()}`);
    request.setRequestHeader("Muster-Form", headers["Muster-Form"]);
    request.setRequestHeader("Idempotency-Key", key);
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) sent.value = (event.loaded * 100) / event.total;
    });
    request.upload.addEventListener("load", () => say("Uploaded. It is made durable…", false));
    const failed = (text) => {
      sent.hidden = true;
      send.disabled = false;
      say(text, true);
    };
    request.addEventListener("error", () => failed("The connection was lost. Send it again: what has arrived is not imported twice."));
    request.addEventListener("load", () => {
      let answer = {};
      try {
        answer = JSON.parse(request.responseText);
      } catch {}
      if (request.status === 202 && answer.id) location.assign(`/console/imports/${answer.id}`);
      else if (request.status === 401) location.reload();
      else failed(answer.error ? answer.error.message : "The file was not taken.");
    });
    request.send(chosen().slice());
  });
})();
