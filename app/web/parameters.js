/* A form for the parameters of a defense, from the JSON Schema that the service gives, and what was entered in it. */

function control(name, schema) {
  const kinds = schema.anyOf ?? [schema];
  if (schema.enum) {
    const select = document.createElement("select");
    for (const value of schema.enum) select.add(new Option(value, JSON.stringify(value)));
    select.value = JSON.stringify(schema.default);
    return [select, () => written(JSON.parse(select.value))];
  }
  if (schema.type === "boolean") {
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = schema.default ?? false;
    return [box, () => written(box.checked)];
  }
  const isNumber = schema.type === "integer" || schema.type === "number";
  const isText = kinds.every((one) => ["string", "integer", "number"].includes(one.type));
  const input = document.createElement(isText ? "input" : "textarea");
  if (isNumber) {
    input.type = "number";
    input.step = schema.type === "integer" ? "1" : "any";
    for (const [attribute, bound] of [["min", schema.minimum], ["max", schema.maximum]]) {
      if (bound !== undefined) input[attribute] = bound;
    }
  }
  const first = schema.default ?? schema.examples?.[0] ?? "";
  input.value = typeof first === "string" ? first : written(first);
  const read = isNumber ? Number : (text) => word(text, kinds);
  return [input, () => (input.value.trim() === "" ? undefined : isText ? written(read(input.value)) : input.value.trim())];
}

function word(text, kinds) {
  const takesNumbers = kinds.some((one) => one.type !== "string");
  return takesNumbers && Number.isFinite(Number(text)) ? Number(text) : text.trim();
}

/* A value as it stands in `name(parameter=value)`; a list of defenses is joined by `+`. */
function written(value) {
  if (Array.isArray(value)) return value.map(line).join(" + ");
  const isWord = typeof value === "string" && /^(?!(true|false|null|NaN|Infinity)$)[A-Za-z][\w.-]*$/.test(value);
  return isWord ? value : JSON.stringify(value);
}

function line({ name, ...given }) {
  return name + bracketed(Object.entries(given).map(([parameter, value]) => [parameter, written(value)]));
}

function bracketed(given) {
  return given.length ? `(${given.map((pair) => pair.join("=")).join(", ")})` : "";
}

/* Fill `place` with a control for each parameter; return a function that writes what is not its default, in parentheses. */
export function parametersForm(place, schema) {
  const readers = [];
  place.replaceChildren();
  for (const [name, one] of Object.entries(schema.properties)) {
    if (name === "name") continue;
    const [input, value] = control(name, one);
    input.id = `parameter-${name}`;
    const label = document.createElement("label");
    label.htmlFor = input.id;
    label.textContent = name;
    const hint = document.createElement("small");
    hint.textContent = one.description ?? "";
    hint.id = `hint-${name}`;
    input.setAttribute("aria-describedby", hint.id);
    const row = document.createElement("p");
    row.append(label, " ", input, hint);
    place.append(row);
    readers.push([name, value, one.default === undefined ? "" : written(one.default)]);
  }
  return () => {
    const given = readers.map(([name, value, usual]) => [name, value(), usual]);
    const changed = given.filter(([, text, usual]) => text !== undefined && text !== usual);
    return bracketed(changed.map(([name, text]) => [name, text]));
  };
}
