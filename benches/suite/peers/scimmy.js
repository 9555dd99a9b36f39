// A SCIM server of scimmy, scimmy-routers and express, as their pages show how, over SQLite: every write is durable
// (synchronous = FULL) before it is answered, statements stay prepared, every filter that is measured has its index, and
// pages skip over a narrow table. Called as `node scimmy.js PORT DATABASE TOKEN`.
"use strict";

const { randomUUID } = require("node:crypto");
const Database = require("better-sqlite3");
const express = require("express");
const routers = require("scimmy-routers");
const { SCIMMY } = routers;

const [port, file, token] = process.argv.slice(2);

const db = new Database(file);
db.pragma("journal_mode = WAL");
db.pragma("synchronous = FULL");
db.exec(`
    CREATE TABLE person (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, login TEXT NOT NULL UNIQUE COLLATE NOCASE,
        external TEXT, doc TEXT NOT NULL);
    CREATE INDEX person_external ON person (external);
    CREATE TABLE place (seq INTEGER PRIMARY KEY);
    CREATE TABLE email (value TEXT NOT NULL COLLATE NOCASE, person INTEGER NOT NULL, PRIMARY KEY (value, person)) WITHOUT ROWID;
    CREATE INDEX email_person ON email (person);
    CREATE TABLE team (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, doc TEXT NOT NULL);
`);
const sql = {
    insert: db.prepare("INSERT INTO person (id, login, external, doc) VALUES (?, ?, ?, ?)"),
    insertPlace: db.prepare("INSERT INTO place (seq) VALUES (?)"),
    update: db.prepare("UPDATE person SET login = ?, external = ?, doc = ? WHERE id = ? RETURNING seq"),
    insertEmail: db.prepare("INSERT OR IGNORE INTO email (value, person) VALUES (?, ?)"),
    deleteEmails: db.prepare("DELETE FROM email WHERE person = ?"),
    emails: db.prepare("SELECT value FROM email WHERE person = ?").pluck(),
    byId: db.prepare("SELECT doc FROM person WHERE id = ?").pluck(),
    byLogin: db.prepare("SELECT doc FROM person WHERE login = ?").pluck(),
    byExternal: db.prepare("SELECT doc FROM person WHERE external = ?").pluck(),
    byEmail: db.prepare("SELECT doc FROM person WHERE seq IN (SELECT person FROM email WHERE value = ?)").pluck(),
    page: db.prepare(
        "SELECT doc FROM person WHERE seq IN (SELECT seq FROM place ORDER BY seq LIMIT ? OFFSET ?) ORDER BY seq",
    ).pluck(),
    insertTeam: db.prepare("INSERT INTO team (id, doc) VALUES (?, ?)"),
    updateTeam: db.prepare("UPDATE team SET doc = ? WHERE id = ?"),
    team: db.prepare("SELECT doc FROM team WHERE id = ?").pluck(),
};
let persons = 0;

const addresses = (user) => (user.emails ?? []).map((email) => email.value).filter(Boolean);

const create = db.transaction((id, user, doc) => {
    const seq = sql.insert.run(id, user.userName, user.externalId, doc).lastInsertRowid;
    sql.insertPlace.run(seq);
    for (const address of addresses(user)) sql.insertEmail.run(address, seq);
});

const change = db.transaction((id, user, doc) => {
    const row = sql.update.get(user.userName, user.externalId, doc, id);
    if (!row) throw new SCIMMY.Types.Error(404, null, `Resource ${id} not found`);
    const [before, after] = [sql.emails.all(row.seq).sort(), addresses(user).sort()];
    if (before.join("\n") !== after.join("\n")) {
        sql.deleteEmails.run(row.seq);
        for (const address of after) sql.insertEmail.run(address, row.seq);
    }
});

/** As it is kept and shown. */
function stamped(resource, instance) {
    const now = new Date().toISOString();
    const meta = { created: instance.meta?.created ?? now, lastModified: now };
    return { ...JSON.parse(JSON.stringify(instance)), id: resource.id ?? randomUUID(), meta };
}

function found(text, id) {
    if (text === undefined) throw new SCIMMY.Types.Error(404, null, `Resource ${id} not found`);
    return JSON.parse(text);
}

function search(resource) {
    const [asked] = resource.filter ?? [];
    if (asked === undefined) {
        const { startIndex = 1, count = 20 } = (resource.constraints ??= {});
        resource.constraints.totalResults = persons;
        return sql.page.all(count, startIndex - 1);
    }
    const [[name, test]] = Object.entries(asked);
    const [statement, [operator, value]] = {
        userName: [sql.byLogin, test],
        externalId: [sql.byExternal, test],
        emails: [sql.byEmail, test.value ?? []],
    }[name] ?? [null, []];
    if (!statement || operator !== "eq") throw new SCIMMY.Types.Error(400, "invalidFilter", "No such filter here");
    return statement.all(value);
}

SCIMMY.Resources.declare(SCIMMY.Resources.User.extend(SCIMMY.Schemas.EnterpriseUser, false))
    .ingress((resource, instance) => {
        const user = stamped(resource, instance);
        try {
            if (resource.id) change(user.id, user, JSON.stringify(user));
            else {
                create(user.id, user, JSON.stringify(user));
                persons += 1;
            }
        } catch (error) {
            if (error.code?.startsWith("SQLITE_CONSTRAINT"))
                throw new SCIMMY.Types.Error(409, "uniqueness", "userName is taken");
            throw error;
        }
        return user;
    })
    .egress((resource) => {
        if (resource.id) return found(sql.byId.get(resource.id), resource.id);
        return search(resource).map((text) => JSON.parse(text));
    });

SCIMMY.Resources.declare(SCIMMY.Resources.Group)
    .ingress((resource, instance) => {
        const team = stamped(resource, instance);
        if (resource.id) sql.updateTeam.run(JSON.stringify(team), team.id);
        else sql.insertTeam.run(team.id, JSON.stringify(team));
        return team;
    })
    .egress((resource) => found(sql.team.get(resource.id), resource.id));

const app = express();
// An entity tag would hash every answer.
app.set("etag", false);
app.use("/scim/v2", new routers.default({
    type: "bearer",
    handler: (request) => {
        if (request.header("Authorization") !== `Bearer ${token}`) throw new Error("Authorization not detected!");
        return "bench";
    },
}));
app.listen(Number(port), "127.0.0.1");
