// Reads objects, and writes for each what is wrong with it by the published types of exactly its apiVersion and kind.
// The validators pass over fields that they do not know: what they never look at is unknown.

const PACKAGES = {
  "gateway.networking.k8s.io": "@kubernetes-models/gateway-api",
  "monitoring.coreos.com": "@kubernetes-models/prometheus-operator",
};
// The package's generator takes this field for the type's own description.
const LOST = "scheduling.k8s.io/v1 PriorityClass /description";

function watched(value, path, seen) {
  if (value === null || typeof value !== "object") return value;
  return new Proxy(value, {
    get(target, name) {
      if (!Object.hasOwn(target, name)) return target[name];
      seen.add(`${path}/${String(name)}`);
      return watched(target[name], `${path}/${String(name)}`, seen);
    },
  });
}

function* paths(value, path = "") {
  if (value === null || typeof value !== "object") return;
  for (const name of Object.keys(value)) {
    yield `${path}/${name}`;
    yield* paths(value[name], `${path}/${name}`);
  }
}

async function faults(object) {
  const { apiVersion, kind } = object;
  const models = PACKAGES[apiVersion.split("/")[0]] ?? "kubernetes-models";
  const { [kind]: Model } = await import(`${models}/${apiVersion}/${kind}`);
  const seen = new Set();
  const found = [];
  try {
    Model.prototype.validate.call(watched(object, "", seen));
  } catch (error) {
    found.push(error.message);
  }
  const unknown = [...paths(object)].filter((path) => !seen.has(path) && `${apiVersion} ${kind} ${path}` !== LOST);
  return [...found, ...unknown.map((path) => `${path} is unknown`)];
}

let text = "";
for await (const part of process.stdin) text += part;
console.log(JSON.stringify(await Promise.all(JSON.parse(text).map(faults))));
