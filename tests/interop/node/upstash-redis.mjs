// Calls a cache with @upstash/redis: node upstash-redis.mjs URL TOKEN CALLS_JSON
// CALLS is [[method, ...arguments], ...]; a method `pipeline` or `multi` is given calls of its own.
import { Redis } from "@upstash/redis";

const [url, token, calls] = process.argv.slice(2);
const redis = new Redis({ url, token, retry: false, enableTelemetry: true });

const run = ([method, ...rest]) => {
  if (method !== "pipeline" && method !== "multi") return redis[method](...rest);
  const batch = redis[method]();
  for (const [name, ...args] of rest) batch[name](...args);
  return batch.exec();
};

const answers = [];
for (const call of JSON.parse(calls)) {
  try {
    answers.push({ result: await run(call) });
  } catch (error) {
    answers.push({ error: `${error.name}: ${error.message}` });
  }
}
process.stdout.write(JSON.stringify(answers));
