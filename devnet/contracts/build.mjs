// Compiles every *.sol of this folder into <name>.json, byte for byte the same on every machine.
//
//   npm ci && npm run build      writes the JSON files
//   npm run check                writes nothing; exit code 1 when a committed file differs
//
// The settings leave out everything that depends on the machine: no metadata hash, no CBOR trailer, no paths.
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import solc from "solc";

const folder = dirname(fileURLToPath(import.meta.url));
const check = process.argv.includes("--check");
const settings = {
  evmVersion: "shanghai",
  metadata: { appendCBOR: false, bytecodeHash: "none" },
  optimizer: { enabled: true, runs: 1000000 },
  viaIR: true,
  outputSelection: { "*": { "*": ["abi", "evm.deployedBytecode.object", "storageLayout"] } },
};

function compile(name) {
  const source = readFileSync(join(folder, `${name}.sol`), "utf8");
  const input = { language: "Solidity", sources: { [`${name}.sol`]: { content: source } }, settings };
  const output = JSON.parse(solc.compile(JSON.stringify(input)));
  if (output.errors?.length) {
    throw new Error(output.errors.map((problem) => problem.formattedMessage).join("\n"));
  }
  const contract = output.contracts[`${name}.sol`][name];
  return {
    contractName: name,
    source: `${name}.sol`,
    sourceSha256: createHash("sha256").update(source).digest("hex"),
    compiler: `solc ${solc.version()}`,
    settings,
    storageSlots: Object.fromEntries(contract.storageLayout.storage.map(({ label, slot }) => [label, Number(slot)])),
    abi: contract.abi,
    deployedBytecode: `0x${contract.evm.deployedBytecode.object}`,
  };
}

let stale = 0;
for (const file of readdirSync(folder).filter((entry) => entry.endsWith(".sol")).sort()) {
  const name = file.slice(0, -".sol".length);
  const target = join(folder, `${name}.json`);
  const text = `${JSON.stringify(compile(name), null, 2)}\n`;
  if (!check) {
    writeFileSync(target, text);
  } else if (!existsSync(target) || readFileSync(target, "utf8") !== text) {
    console.error(`${name}.json does not match ${file}: run npm run build`);
    stale += 1;
  }
}
process.exitCode = stale ? 1 : 0;
