// A whole job with types that were generated from /openapi.json: upload a file, follow it, read what became of every record and what is
// wrong by cause, take the failed ones and retry them. What does not fit the types does not compile.
import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Import = components["schemas"]["ImportView"];
type RecordView = components["schemas"]["RecordView"];

const CSV = "email,given_name,custom__office\nada@example.com,Ada,Rome\nnobody,Bob,Bern\ncy@example.com,Cy,Oslo\n";

const client = createClient<paths>({
  baseUrl: process.env["MUSTER_URL"] ?? "",
  headers: { authorization: `Bearer ${process.env["MUSTER_TOKEN"]}` },
});

function done<T>(answer: { data?: T; error?: unknown; response: Response }, status = 200): T {
  assert.equal(answer.response.status, status, JSON.stringify(answer.error));
  assert.ok(answer.data !== undefined);
  return answer.data;
}

async function ended(found: Import): Promise<Import> {
  while (!["completed", "cancelled", "aborted"].includes(found.state)) {
    const path = { id: found.id };
    found = done(await client.GET("/v1/imports/{id}", { params: { path, query: { wait: "30s" } } }));
  }
  return found;
}

// The file as the body.
const uploaded = done(
  await client.POST("/v1/imports", {
    params: { query: { format: "csv", filename: "users.csv" } },
    body: CSV,
    bodySerializer: (body) => body as string,
    headers: { "content-type": "text/csv" },
  }),
  202,
);
const finished = await ended(uploaded);
assert.deepEqual(
  [finished.counts.total, finished.counts.inserted, finished.counts.failed, finished.counts.pending],
  [3, 2, 1, 0],
);

const path = { id: finished.id };
const records: RecordView[] = [];
let after: number | null | undefined;
do {
  const query = after == null ? { limit: 2 } : { limit: 2, after };
  const page = done(await client.GET("/v1/imports/{id}/records", { params: { path, query } }));
  records.push(...page.records);
  after = page.next;
} while (after != null);
assert.deepEqual(records.map((record) => record.outcome), ["inserted", "failed", "inserted"]);
assert.equal(records[1]?.errors[0]?.code, "email_invalid");

const problems = done(await client.GET("/v1/imports/{id}/problems", { params: { path } }));
assert.deepEqual(
  problems.problems.map((one) => [one.code, one.field, one.count, one.example]),
  [["email_invalid", "email", 1, "nobody"]],
);
const failed = done(await client.GET("/v1/imports/{id}/failed.csv", { params: { path }, parseAs: "text" }));
assert.match(failed, /nobody/);
const retried = await ended(done(await client.POST("/v1/imports/{id}/retry", { params: { path } })));
assert.equal(retried.counts.failed, 1);

// The same as a form, whose file is its last part.
const form = done(
  await client.POST("/v1/imports", {
    body: { on_existing: "skip", file: CSV },
    bodySerializer: (body) => {
      const { file, ...options } = body as { file: string } & Record<string, string>;
      const form = new FormData();
      for (const [name, value] of Object.entries(options)) form.append(name, value);
      form.append("file", new Blob([file], { type: "text/csv" }), "users.csv");
      return form;
    },
  }),
  202,
);
assert.equal((await ended(form)).counts.skipped, 2);

const found = done(await client.GET("/v1/users", { params: { query: { email: "ada@example.com" } } }));
assert.equal(found.users[0]?.given_name, "Ada");
const refused = await client.GET("/v1/imports", { params: { query: { limit: 100_000 } } });
assert.equal(refused.response.status, 400);
assert.equal(refused.error?.error.code, "invalid_request");
console.log("generated TypeScript client: all well");
