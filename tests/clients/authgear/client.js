// Imports users as Authgear's guide "Import Users using User Import API" teaches: a token by jsonwebtoken, the request by
// fetch, then the status until the task is completed. Nothing in here knows Muster.
"use strict";

const assert = require("node:assert/strict");
const fs = require("node:fs");
const jwt = require("jsonwebtoken");

const endpoint = process.env.AUTHGEAR_ENDPOINT;
const projectId = process.env.AUTHGEAR_PROJECT_ID;
const keyId = process.env.AUTHGEAR_KEY_ID;
const privateKey = fs.readFileSync(process.env.AUTHGEAR_PRIVATE_KEY_FILE);

function adminToken() {
  const now = Math.floor(Date.now() / 1000);
  const claims = { aud: [projectId], iat: now - 30, exp: now + 5 * 60 };
  return jwt.sign(claims, privateKey, { algorithm: "RS256", header: { alg: "RS256", typ: "JWT", kid: keyId } });
}

function call(path, options = {}) {
  const headers = { Authorization: `Bearer ${adminToken()}`, "Content-Type": "application/json" };
  return fetch(`${endpoint}${path}`, { ...options, headers: { ...headers, ...options.headers } });
}

async function startImport(data) {
  const response = await call("/_api/admin/users/import", { method: "POST", body: JSON.stringify(data) });
  return { status: response.status, body: await response.json() };
}

async function waitForTask(id) {
  for (const end = Date.now() + 60_000; Date.now() < end; ) {
    const response = await call(`/_api/admin/users/import/${id}`);
    assert.equal(response.status, 200);
    const task = await response.json();
    if (task.status === "completed") return task;
    assert.equal(task.status, "pending");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("the task was not completed in time");
}

async function run(data) {
  const { status, body } = await startImport(data);
  assert.equal(status, 200, JSON.stringify(body));
  assert.match(body.id, /^userimport_[0-9A-HJKMNP-TV-Z]{32}$/);
  // Readers of the documentation look at the top, readers of the server's own answers under `result`.
  assert.equal(body.result.id, body.id);
  return waitForTask(body.id);
}

const password = { type: "bcrypt", password_hash: "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy" };
const two = {
  identifier: "email",
  records: [
    {
      email: "user1@example.com",
      email_verified: true,
      given_name: "John",
      family_name: "Doe",
      password,
      roles: ["role_a"],
      groups: ["group_a"],
      custom_attributes: { member_id: "123456789" },
    },
    { email: "User2@Example.com", name: "Jane Doe", zoneinfo: "Asia/Hong_Kong", locale: "zh-Hant-HK" },
  ],
};

async function main() {
  let task = await run(two);
  assert.deepEqual(task.summary, { total: 2, inserted: 2, updated: 0, skipped: 0, failed: 0 });
  assert.equal(task.details[0].record.password.password_hash, "REDACTED");
  const users = task.details.map((detail) => detail.user_id);
  assert.equal(new Set(users).size, 2);

  task = await run(two);
  assert.deepEqual(task.summary, { total: 2, inserted: 0, updated: 0, skipped: 2, failed: 0 });
  assert.deepEqual(task.details.map((detail) => detail.user_id), users);
  assert.deepEqual(task.details[0].warnings, [{ message: "skipping because upsert = false and user exists" }]);

  task = await run({
    upsert: true,
    identifier: "email",
    records: [
      { email: "user1@example.com", given_name: null, roles: [] },
      { email: "user2@example.com", roles: ["role_z"] },
      { email: "bad", name: "" },
    ],
  });
  assert.deepEqual(task.summary, { total: 3, inserted: 0, updated: 1, skipped: 0, failed: 2 });
  assert.equal(task.details[0].user_id, users[0]);
  assert.deepEqual(task.details[1].errors[0].info, { keys: ["role_z"] });
  assert.deepEqual(
    task.details[2].errors[0].info.causes.map((cause) => [cause.location, cause.kind]),
    [["/email", "format"], ["/name", "minLength"]],
  );
  assert.equal("user_id" in task.details[2], false);

  const invalid = await startImport({ identifier: "foobar", records: [] });
  assert.equal(invalid.status, 400);
  assert.equal(invalid.body.error.reason, "ValidationFailed");

  const missing = await call("/_api/admin/users/import/userimport_00000000000000000000000000000000");
  assert.equal(missing.status, 404);
  assert.equal((await missing.json()).error.reason, "TaskNotFound");

  const forbidden = await call("/_api/admin/users/import", {
    method: "POST",
    body: JSON.stringify(two),
    headers: { Authorization: "Bearer nobody" },
  });
  assert.equal(forbidden.status, 403);
  assert.equal(await forbidden.text(), "Forbidden\n");
  console.log("authgear: imported, skipped, updated and refused as the guide says");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
