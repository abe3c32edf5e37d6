// node-postgres: prepared statements, a pool, a cursor, COPY, LISTEN, cancel, errors, TLS.
import assert from "node:assert/strict";
import fs from "node:fs";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import pg from "pg";
import copy from "pg-copy-streams";
import Cursor from "pg-cursor";

const settings = {
  host: process.env.PGHOST, port: Number(process.env.PGPORT), user: process.env.PGUSER,
  password: process.env.PGPASSWORD, database: process.env.PGDATABASE, ssl: false,
};
const client = new pg.Client(settings);
await client.connect();
await client.query("create temp table t (id int primary key, name text, data jsonb)");
for (let i = 0; i < 50; i++) {
  await client.query({ name: "put", text: "insert into t values ($1, $2, $3)", values: [i, `name ${i}`, { i }] });
}
let found = await client.query("select * from t where id = $1", [7]);
assert.deepEqual(found.rows, [{ id: 7, name: "name 7", data: { i: 7 } }]);
found = await client.query("select 1 as a; select 2 as b");
assert.deepEqual(found.map((r) => r.rows), [[{ a: 1 }], [{ b: 2 }]]);
await assert.rejects(client.query("insert into t values ($1)", [7]), { code: "23505", constraint: "t_pkey" });
const cursor = client.query(new Cursor("select id from t order by id"));
assert.equal((await cursor.read(20)).length, 20);
assert.equal((await cursor.read(100)).length, 30);
await cursor.close();
await pipeline(Readable.from(["100\tcopied\t{}\n", "101\tcopied\t\\N\n"]), client.query(copy.from("copy t from stdin")));
let text = "";
for await (const chunk of client.query(copy.to("copy (select id from t where id > 99 order by 1) to stdout"))) text += chunk;
assert.equal(text, "100\n101\n");
const heard = new Promise((resolve) => client.on("notification", (message) => resolve(message.payload)));
await client.query("listen news");
const pool = new pg.Pool({ ...settings, max: 5 });
await pool.query("select pg_notify('news', 'one')");
assert.equal(await heard, "one");
const sums = await Promise.all(Array.from({ length: 50 }, (_, i) => pool.query("select $1::int + 1 as n", [i])));
assert.deepEqual(sums.map((r) => r.rows[0].n), Array.from({ length: 50 }, (_, i) => i + 1));
const { rows: [{ pid }] } = await client.query("select pg_backend_pid() as pid");
assert.equal(pid, client.processID);
const sleeping = client.query("select pg_sleep(30)");
setTimeout(() => new pg.Client(settings).cancel(client, client.activeQuery ?? client._activeQuery), 300);
await assert.rejects(sleeping, { code: "57014" });
const big = "x".repeat(5_000_000);
found = await client.query("select $1::text as big", [big]);
assert.equal(found.rows[0].big, big);
await pool.end();
await client.end();
const secure = new pg.Client({ ...settings, host: "localhost", ssl: { ca: fs.readFileSync(process.env.CA_FILE, "utf8") } });
await secure.connect();
assert.deepEqual((await secure.query("select ssn from masked_people")).rows, [{ ssn: "[REDACTED]" }]);
await secure.end();
console.log("done");
