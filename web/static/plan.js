// How the repository was understood: the plan of a build.

import { t } from "./texts.js";

const ENVIRONMENTS = {
  reused: t("This environment is known already, so it is reused. That takes a few seconds."),
  new: t("This environment is new, so it is built now and kept. Later launches will reuse it."),
};

export function showPlan(plan, environment) {
  const box = document.getElementById("plan");
  box.hidden = false;
  document.getElementById("plan-environment").textContent = ENVIRONMENTS[environment] ?? "";
  box.dataset.environment = environment ?? "";
  const facts = [
    ["Python", [plan.python, plan.python_reason].filter(Boolean).join(" · ")],
    [t("Read from"), list(plan.files) || t("no dependency files found")],
    [t("System packages"), list(plan.apt)],
    [t("After the build"), plan.post_build ? t("runs {file}", { file: plan.post_build }) : ""],
    [t("At start"), plan.start ? t("runs {file}", { file: plan.start }) : ""],
  ];
  document.getElementById("plan-facts").replaceChildren(...facts.filter(([, value]) => value).map(fact));
  document.getElementById("plan-warnings").replaceChildren(...(plan.warnings ?? []).map((text) => element("li", text)));
}

function fact([name, value]) {
  const row = document.createElement("div");
  row.append(element("dt", name), element("dd", value));
  return row;
}

function list(values) {
  return (values ?? []).join(", ");
}

export function element(name, text, className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}
