/* A form for the parameters of a defense, from the JSON Schema that the service gives, and what was entered in it. */

function control(name, schema) {
  const kinds = schema.anyOf ?? [schema];
  if (schema.enum) {
    const select = document.createElement("select");
    for (const value of schema.enum) select.add(new Option(value, JSON.stringify(value)));
    select.value = JSON.stringify(schema.default);
    return [select, () => JSON.parse(select.value)];
  }
  if (schema.type === "boolean") {
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = schema.default ?? false;
    return [box, () => box.checked];
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
  const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value));
  if (schema.default !== undefined) input.value = shown(schema.default);
  else if (schema.examples) input.value = shown(schema.examples[0]);
  const read = isNumber ? Number : isText ? (text) => word(text, kinds) : (text) => parsed(name, text);
  return [input, () => (input.value.trim() === "" ? undefined : read(input.value))];
}

function word(text, kinds) {
  const takesNumbers = kinds.some((one) => one.type !== "string");
  return takesNumbers && Number.isFinite(Number(text)) ? Number(text) : text.trim();
}

function parsed(name, text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(`The parameter ${name} is not valid JSON.`);
  }
}

/* Fill `place` with a control for each parameter; return a function that gives what is not its default. */
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
    readers.push([name, value, JSON.stringify(one.default)]);
  }
  return () => {
    const given = readers.map(([name, value, usual]) => [name, value(), usual]);
    return Object.fromEntries(given.filter(([, value, usual]) => value !== undefined && JSON.stringify(value) !== usual));
  };
}
